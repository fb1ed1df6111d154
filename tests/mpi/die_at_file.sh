#!/bin/sh
# die_at_file.sh RANK FILE COMMAND...: the command, which SIGKILL ends in the process of that rank
# once there is such a file, another one than at first.
rank=$1 file=$2
shift 2
if [ "${OMPI_COMM_WORLD_RANK-${PMI_RANK-}}" = "$rank" ]; then
    first=$(stat -c '%i %y' "$file" 2>/dev/null)
    (
        while [ -e /proc/$$/stat ]; do
            now=$(stat -c '%i %y' "$file" 2>/dev/null)
            [ -n "$now" ] && [ "$now" != "$first" ] && kill -s KILL $$ && exit
            sleep 0.01
        done
    ) 2>/dev/null &
fi
exec "$@"
