# curl, uploading a message whose lines end in LF.
. ./message.sh
message "$@" | curl -q -sS "smtp://$host:$port" --mail-from "$sender" --mail-rcpt "$recipient" -T -
