# The mail gem with its own envelope, made from the fields.
require "mail"

host, port, sender, recipient, body, *headers = ARGV
mail = Mail.new do
  from sender
  to recipient
  subject "post"
  body File.read(body, encoding: "UTF-8")
end
mail.charset = "UTF-8"
headers.each do |header|
  name, value = header.split(": ", 2)
  mail.header[name] = value
end
mail.delivery_method :smtp, address: host, port: port.to_i
begin
  mail.deliver!
rescue StandardError => error
  abort error.message
end
