#!/bin/sh
# Serves an image to a board and ends when the board has it, in plain shell.
#   examples/boot.sh IMAGE BOARD [COMMAND...]
# IMAGE is a file, BOARD the board's address. COMMAND makes the board fetch: it is run with the image's URL as one more
# argument, such as `ssh root@192.168.7.2 wget -O /dev/mmcblk0`. Without it, type what is printed.
set -eu
image=$1
board=$2
shift 2

work=$(mktemp -d)
server=
# Whatever ends the script ends the server, and leaves nothing.
trap 'test -z "$server" || kill "$server" 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

httpserve --peer "$board" --port-file "$work/port" --exit-after "$(basename "$image")" --timeout 600 "$image" \
    >"$work/url" &
server=$!

# The port file is there when a request would be answered.
until [ -s "$work/port" ] && [ -s "$work/url" ]; do
    kill -0 "$server" 2>/dev/null || { wait "$server"; exit 1; }
    sleep 0.1
done
read -r url <"$work/url"

if [ $# -eq 0 ]; then
    echo "on the board, run: wget $url"
else
    "$@" "$url"
fi

wait "$server" # 0 when the board has every byte, 1 when it has not after 600 s
server=
echo "the board has $(basename "$image")"
