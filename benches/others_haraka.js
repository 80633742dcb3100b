// The same as a plugin of Haraka: each message is posted before it is answered.
'use strict';

const http = require('http');

const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });

exports.hook_rcpt = (next) => next(OK);

exports.hook_queue = (next, connection) => {
    const request = http.request(process.env.POST_URL, { method: 'POST', agent }, (response) => {
        response.resume();
        response.on('end', () => next(response.statusCode < 300 ? OK : DENYSOFT));
    });
    request.on('error', () => next(DENYSOFT));
    connection.transaction.message_stream.pipe(request);
};
