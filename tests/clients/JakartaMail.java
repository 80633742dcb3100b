import jakarta.mail.Message;
import jakarta.mail.MessagingException;
import jakarta.mail.Session;
import jakarta.mail.Transport;
import jakarta.mail.internet.InternetAddress;
import jakarta.mail.internet.MimeMessage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Properties;

/** jakarta.mail, strict about addresses as it is unless told otherwise. */
class JakartaMail {
    public static void main(String[] arguments) throws IOException {
        var properties = new Properties();
        properties.put("mail.smtp.host", arguments[0]);
        properties.put("mail.smtp.port", arguments[1]);
        properties.put("mail.smtp.from", arguments[2]);
        var message = new MimeMessage(Session.getInstance(properties));
        try {
            message.setFrom(new InternetAddress(arguments[2]));
            message.setRecipient(Message.RecipientType.TO, new InternetAddress(arguments[3]));
            message.setSubject("post");
            message.setText(Files.readString(Path.of(arguments[4])), "UTF-8");
            for (var header : Arrays.copyOfRange(arguments, 5, arguments.length)) {
                var parts = header.split(": ", 2);
                message.addHeader(parts[0], parts[1]);
            }
            Transport.send(message);
        } catch (MessagingException error) {
            System.err.println(error);
            System.exit(1);
        }
    }
}
