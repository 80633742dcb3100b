# msmtp without a configuration file.
. ./message.sh
message "$@" | msmtp --host="$host" --port="$port" --from="$sender" -- "$recipient"
