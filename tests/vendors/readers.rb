# Reads requests as Rails does: through the ingresses of Action Mailbox, into the
# mails that an application would get. Requests come as JSON on standard input; what
# was found, or why nothing was, goes out the same way.

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
  ingress = request["reader"].delete_prefix("rails-").to_sym
  ActionMailbox.ingress = ingress
  ActionMailbox::InboundEmail.delete_all
  headers = request["headers"].to_h { |name, value| ["HTTP_#{name.upcase.tr("-", "_")}", value] }
  body = Base64.decode64(request["body"])
  env = Rack::MockRequest.env_for("http://localhost/rails/action_mailbox/#{PATHS.fetch(ingress)}", **headers.transform_keys(&:to_sym),
    method: "POST", input: body)
  headers.each { |name, value| env[name] = value }
  env["CONTENT_TYPE"] = request["headers"]["content-type"]
  status, = Rails.application.call(env)
  raise "the answer is #{status}" unless [200, 204].include?(status)
  found(ActionMailbox::InboundEmail.last.mail)
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
