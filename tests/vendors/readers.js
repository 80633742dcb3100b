// Reads requests as receivers in Node do: CloudMailin's own types, those of Slack and
// Discord, Microsoft's reader of cards for Teams, the signatures with AWS' sns-validator
// and SendGrid's eventwebhook. Requests come as JSON on
// standard input; what was found, or why nothing was, goes out the same way.
'use strict'

const { readFileSync } = require('fs')
const { resolve } = require('path')
const ts = require('typescript')
const { EventWebhook } = require('@sendgrid/eventwebhook')
const SnsValidator = require('sns-validator')
const cards = require('adaptivecards/dist/adaptivecards.js')

const KEYS = `${__dirname}/../verifiers/keys`

// CloudMailin's declarations are the reader: what they do not allow does not compile.
function cloudmailin (request) {
  const text = Buffer.from(request.body, 'base64').toString()
  const body = JSON.parse(text)
  const source = `import { IncomingMail } from "cloudmailin/dist/models/IncomingMail"
    const body = ${text}
    const mail: IncomingMail = body
    export default mail`
  const complaint = compile(source)
  if (complaint) throw new Error(complaint)
  const addresses = (text) => (text || '').match(/[^\s<>,"]+@[^\s<>,"]+/g) || []
  return {
    subject: body.headers.subject || '',
    from: addresses(body.headers.from),
    to: addresses(body.headers.to),
    cc: addresses(body.headers.cc),
    message_id: body.headers.message_id.replace(/[<>]/g, ''),
    text: body.plain.trimEnd(),
    html: (body.html || '').trimEnd(),
    stripped: body.reply_plain,
    sender: body.envelope.from,
    recipient: body.envelope.to,
    recipients: body.envelope.recipients,
    attachments: body.attachments.map(file => [file.file_name, file.content_type, file.content_id || '',
      Buffer.from(file.content, 'base64').toString('hex')])
  }
}

// What chats show has no subject only by saying so.
const shown = (title, text) => ({ subject: title === '(no subject)' ? '' : title, text: (text || '').trimEnd() })
const bare = (text) => text.replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&amp;/g, '&')

function slack (request) {
  const text = Buffer.from(request.body, 'base64').toString()
  const complaint = compile(`import type { KnownBlock } from "@slack/types"
    const message: { text: string, blocks: KnownBlock[] } = ${text}
    export default message`)
  if (complaint) throw new Error(complaint)
  const [header, , section] = JSON.parse(text).blocks
  return shown(header.text.text, bare(section.text.text))
}

function discord (request) {
  const text = Buffer.from(request.body, 'base64').toString()
  const complaint = compile(`import type { RESTPostAPIWebhookWithTokenJSONBody } from "discord-api-types/v10"
    const message: RESTPostAPIWebhookWithTokenJSONBody = ${text}
    export default message`)
  if (complaint) throw new Error(complaint)
  const [embed] = JSON.parse(text).embeds
  return shown(embed.title, embed.description)
}

// A message of Teams is a card.
function teams (request) {
  const [attachment] = JSON.parse(Buffer.from(request.body, 'base64').toString()).attachments
  if (attachment.contentType !== 'application/vnd.microsoft.card.adaptive') throw new Error(attachment.contentType)
  const context = new cards.SerializationContext(cards.Versions.v1_4)
  const card = new cards.AdaptiveCard()
  card.parse(attachment.content, context)
  if (context.eventCount) throw new Error(context.getEventAt(0).message)
  const invalid = card.validateProperties().validationEvents
  if (invalid.length) throw new Error(invalid[0].message)
  const text = card.getItemAt(2).text.replace(/\n\n/g, '\n')
  return shown(card.getItemAt(0).text, text)
}

function compile (source) {
  // Where its packages are found.
  const name = resolve(process.env.NODE_PATH, '../body.ts')
  const options = { noEmit: true, strict: true, module: ts.ModuleKind.CommonJS, types: [], lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'], skipLibCheck: true, ignoreDeprecations: '5.0' }
  const host = ts.createCompilerHost(options)
  const { getSourceFile, fileExists, readFile } = host
  host.getSourceFile = (file, ...more) =>
    file === name ? ts.createSourceFile(file, source, ts.ScriptTarget.ES2022) : getSourceFile.call(host, file, ...more)
  host.fileExists = (file) => file === name || fileExists.call(host, file)
  host.readFile = (file) => file === name ? source : readFile.call(host, file)
  const found = ts.getPreEmitDiagnostics(ts.createProgram([name], options, host))
  return found.slice(0, 3).map(one => ts.flattenDiagnosticMessageText(one.messageText, ' ')).join('; ')
}

function sns (request) {
  const validator = new SnsValidator(/^localhost:\d+$/)
  const text = Buffer.from(request.body, 'base64').toString()
  const { TopicArn, Message } = JSON.parse(text)
  const topics = [TopicArn, JSON.parse(Message).receipt.action.topicArn, request.headers['x-amz-sns-topic-arn']]
  const expected = request.target === '/ses-sns-2' ? 'arn:aws:sns:eu-west-1:123456789012:mail' : topics[0]
  if (topics.some(topic => topic !== expected)) throw new Error(`the topic is ${topics}`)
  return new Promise((done, refuse) =>
    validator.validate(text, error => error ? refuse(error) : done({})))
}

function sendgrid (request) {
  const webhook = new EventWebhook()
  const key = webhook.convertPublicKeyToECDSA(readFileSync(`${KEYS}/p256.public.pem`, 'utf8'))
  const signature = request.headers['x-twilio-email-event-webhook-signature']
  const timestamp = request.headers['x-twilio-email-event-webhook-timestamp']
  if (!webhook.verifySignature(key, Buffer.from(request.body, 'base64'), signature, timestamp)) {
    throw new Error('the signature is wrong')
  }
  return {}
}

const READERS = { cloudmailin, 'slack-types': slack, 'discord-types': discord, 'adaptive-cards': teams, 'sns-validator': sns, 'sendgrid-eventwebhook': sendgrid }

async function main () {
  const answers = []
  for (const request of JSON.parse(readFileSync(0))) {
    try {
      answers.push(await READERS[request.reader](request))
    } catch (error) {
      answers.push({ error: `${error}`.slice(0, 300) })
    }
  }
  process.stdout.write(JSON.stringify(answers))
}

main()
