# swaks with the body as an attachment: in a --body it turns \n into a line break.
host=$1 port=$2 sender=$3 recipient=$4 body=$5
shift 5
for header; do
    case $header in X-XsHttp-Content-Type:*) type=${header#*: } ;; esac
    set -- "$@" --add-header "$header"
    shift
done
exec swaks --silent 2 --server "$host" --port "$port" --from "$sender" --to "$recipient" "$@" \
    --attach-type "$type" --attach "@$body"
