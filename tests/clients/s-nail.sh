# s-nail with its own SMTP, without any configuration file.
host=$1 port=$2 sender=$3 recipient=$4 body=$5
shift 5
for header; do
    set -- "$@" -C "$header"
    shift
done
exec s-nail -:/ -S v15-compat -S ttycharset=utf-8 -S sendwait -S smtp-auth=none -S "mta=smtp://$host:$port" \
    -r "$sender" -s post "$@" -. "$recipient" <"$body"
