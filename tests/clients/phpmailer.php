<?php
// PHPMailer over SMTP, with its default character set.
require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

[, $host, $port, $sender, $recipient, $body] = $argv;
$mail = new PHPMailer(true);
try {
    $mail->isSMTP();
    $mail->Host = $host;
    $mail->Port = (int) $port;
    $mail->setFrom($sender);
    $mail->addAddress($recipient);
    $mail->Subject = 'post';
    foreach (array_slice($argv, 6) as $header) {
        [$name, $value] = explode(': ', $header, 2);
        $mail->addCustomHeader($name, $value);
    }
    $mail->Body = file_get_contents($body);
    $mail->send();
} catch (Exception $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit(1);
}
