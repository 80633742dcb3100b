# Reads requests as Rails does: through the ingresses of Action Mailbox, into the
# mails that an application would get, and through Rack alone. Requests come as JSON
# on standard input; what was found, or why nothing was, goes out the same way.

HOME = File.expand_path(ARGV.fetch(0))
ENV["RAILS_ENV"] = "production"
ENV["DATABASE_URL"] = "sqlite3:#{HOME}/mails.sqlite3"
ENV["RAILS_INBOUND_EMAIL_PASSWORD"] = "sesame"
ENV["MAILGUN_INGRESS_SIGNING_KEY"] = "mailgun-secret"

require "rails"
require "active_record/railtie"
require "active_job/railtie"
require "active_storage/engine"
require "action_mailbox/engine"
require "rack/mock"
require "json"
require "base64"

class Application < Rails::Application
  config.root = HOME
  config.eager_load = false
  config.secret_key_base = "x" * 64
  config.logger = Logger.new(File.join(HOME, "rails.log"))
  config.hosts.clear
  config.active_job.queue_adapter = :test
  config.active_storage.service = :disk
  config.active_storage.service_configurations = { disk: { service: "Disk", root: File.join(HOME, "storage") } }
end
Rails.application.initialize!

ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table :active_storage_blobs do |t|
    t.string :key, :filename, :content_type, :metadata, :service_name, :checksum
    t.bigint :byte_size
    t.datetime :created_at
  end
  create_table :active_storage_attachments do |t|
    t.string :name, :record_type
    t.bigint :record_id, :blob_id
    t.datetime :created_at
  end
  create_table :action_mailbox_inbound_emails do |t|
    t.integer :status, default: 0
    t.string :message_id, :message_checksum
    t.timestamps
  end
end

PATHS = { relay: "relay/inbound_emails", sendgrid: "sendgrid/inbound_emails", mailgun: "mailgun/inbound_emails/mime" }

def read(request)
  request["reader"] == "rack-cloudmailin" ? cloudmailin(request) : ingress(request)
end

def ingress(request)
  ingress = request["reader"].delete_prefix("rails-").to_sym
  ActionMailbox.ingress = ingress
  ActionMailbox::InboundEmail.delete_all
  status, = Rails.application.call(env_of(request, "/rails/action_mailbox/#{PATHS.fetch(ingress)}"))
  raise "the answer is #{status}" unless [200, 204].include?(status)
  found(ActionMailbox::InboundEmail.last.mail)
end

def env_of(request, path)
  env = Rack::MockRequest.env_for("http://localhost#{path}", method: "POST", input: Base64.decode64(request["body"]))
  request["headers"].each { |name, value| env["HTTP_#{name.upcase.tr("-", "_")}"] = value }
  env["CONTENT_TYPE"] = request["headers"]["content-type"]
  env
end

# The form as Rack gives it to every Ruby application: objects and lists by their brackets.
def cloudmailin(request)
  mail = Rack::Request.new(env_of(request, "/")).params
  headers, envelope = mail.fetch("headers"), mail.fetch("envelope")
  addresses = ->(name) { headers[name].to_s.scan(/[^\s<>,"]+@[^\s<>,"]+/) }
  {
    subject: headers["subject"].to_s, from: addresses["from"], to: addresses["to"], cc: addresses["cc"],
    message_id: headers.fetch("message_id").delete("<>"),
    text: mail.fetch("plain"), html: mail["html"].to_s, stripped: mail.fetch("reply_plain"),
    sender: envelope.fetch("from"), recipient: envelope.fetch("to"), recipients: envelope.fetch("recipients").values,
    attachments: mail.fetch("attachments", {}).values.map do |file|
      [file[:filename].force_encoding("UTF-8"), file[:type], "", file[:tempfile].read.unpack1("H*")]
    end
  }
end

def found(mail)
  text = mail.multipart? ? mail.text_part : mail
  {
    subject: mail.subject.to_s, from: mail.from, to: mail.to, cc: mail.cc.to_a, message_id: mail.message_id,
    text: text.decoded.force_encoding("UTF-8").gsub("\r\n", "\n").rstrip,
    html: mail.html_part ? mail.html_part.decoded.gsub("\r\n", "\n").rstrip : "",
    attachments: mail.attachments.map do |part|
      [part.filename, part.mime_type, part.content_id.to_s.delete("<>"), part.body.decoded.unpack1("H*")]
    end
  }
end

answers = JSON.parse($stdin.read).map do |request|
  read(request)
rescue StandardError => error
  { error: "#{error.class}: #{error.message}"[0, 300] }
end
puts JSON.generate(answers)
