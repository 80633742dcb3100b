# For clients that are given a whole message: sets the arguments' names, and
# `message` prints it.
host=$1 port=$2 sender=$3 recipient=$4 body=$5
shift 5
message() {
    printf '%s\n' "From: $sender" "To: $recipient" "Subject: post" "$@" ""
    cat "$body"
    echo
}
