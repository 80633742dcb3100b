// nodemailer with its own envelope, made from the fields.
const { readFileSync } = require("fs");
const nodemailer = require("nodemailer");

const [host, port, sender, recipient, body, ...headers] = process.argv.slice(2);
const fields = headers.map((header) => {
  const [, key, value] = header.match(/^(.*?): (.*)$/);
  return { key, value };
});
nodemailer
  .createTransport({ host, port: Number(port) })
  .sendMail({ from: sender, to: recipient, subject: "post", headers: fields, text: readFileSync(body, "utf8") })
  .catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
