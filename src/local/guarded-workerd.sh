#!/bin/sh
# Runs workerd so that it never outlives the process that started it, even one ended by SIGKILL.
#
# Miniflare starts this in workerd's place (MINIFLARE_WORKERD_PATH). The shell becomes workerd, so
# its pid and its pipes are workerd's; a watcher beside it looks once a second whether workerd's
# parent is still the one it started with. The pid is noted in $MXFP4_EDGE_PIDS for `endStale`.

self=$$
parent=$PPID
note="$MXFP4_EDGE_PIDS/$self"
echo "$parent" > "$note"

parent_of_self() {
  if [ -r /proc/self/stat ]; then
    # The fields after the name, which stands in brackets, are state and parent.
    sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$self/stat"
  else
    ps -o ppid= -p "$self" | tr -d ' '
  fi 2> /dev/null
}

command_of_self() {
  if [ -r /proc/self/stat ]; then
    tr '\0' ' ' < "/proc/$self/cmdline"
  else
    ps -o command= -p "$self"
  fi 2> /dev/null
}

(
  # A signal for the whole group, as Ctrl-C sends, is workerd's end and not yet the watcher's.
  trap '' INT TERM HUP
  while [ "$(parent_of_self)" = "$parent" ]; do sleep 1; done
  # Not a later process that was given the same pid.
  case "$(command_of_self)" in *workerd*) kill -9 "$self" ;; esac
  rm -f "$note"
) < /dev/null > /dev/null 2>&1 3>&- &

exec "$MXFP4_EDGE_WORKERD" "$@"
