#!/bin/sh
# die_later.sh RANK MILLISECONDS COMMAND...: the command, which SIGKILL ends after a while in the
# process of that rank.
rank=$1 wait=$2
shift 2
if [ "${OMPI_COMM_WORLD_RANK-${PMI_RANK-}}" = "$rank" ]; then
    (sleep "$(echo "$wait" | sed 's/\(.*\)/000\1/; s/\(...\)$/.\1/')" && kill -9 $$) 2>/dev/null &
fi
exec "$@"
