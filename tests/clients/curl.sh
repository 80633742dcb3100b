# curl, uploading a message whose lines end in LF.
. ./message.sh
message "$@" | curl -sS "smtp://$host:$port" --mail-from "$sender" --mail-rcpt "$recipient" -T -
