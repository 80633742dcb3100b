<?php
// PHP's mail() through the program of its sendmail_path, which is told where the gateway is.
[, $host, $port, $sender, $recipient, $body] = $argv;
putenv("POSTGATE_SERVER=$host:$port");
$headers = implode("\r\n", ["From: $sender", ...array_slice($argv, 6)]);
exit(mail($recipient, 'post', file_get_contents($body), $headers, "-f$sender") ? 0 : 1);
