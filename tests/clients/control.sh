# curl as a client that goes wrong in a way of which the test must know.
way=$1
shift
send() { sh curl.sh "$@"; }
case $way in
deny)
    send "$@"
    exit 1
    ;;
repeat)
    send "$@" && send "$@"
    ;;
corrupt)
    changed=$(mktemp)
    trap 'rm "$changed"' EXIT
    host=$1 port=$2 sender=$3 recipient=$4 body=$5
    shift 5
    tr e a <"$body" >"$changed"
    send "$host" "$port" "$sender" "$recipient" "$changed" "$@"
    ;;
esac
