#!/bin/sh
# Runs workerd so that it never outlives the process that started it, even one ended by SIGKILL.
#
# Miniflare starts this in workerd's place (MINIFLARE_WORKERD_PATH). The shell becomes workerd, so
# its pid and its pipes are workerd's; a watcher beside it looks once a second whether workerd's
# parent is still the one it started with. $MXFP4_EDGE_PIDS gets a note for `endStale`, named by
# workerd's pid: the parent's pid, when the parent started, when workerd did. Pids are given again,
# so a process is known by its pid and its start together.
#
# `guarded-workerd.sh start-of PID` only tells when a process started; nothing for one that is not.

start_of() {
  if [ -r /proc/self/stat ]; then
    # Field 22, in ticks since the boot; the name, which stands in brackets, may hold blanks.
    ticks=$(sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 20)
    [ -z "$ticks" ] || echo "$ticks-$(cat /proc/sys/kernel/random/boot_id)"
  else
    ps -o lstart= -p "$1" | tr -s ' ' '_'
  fi 2> /dev/null
}

if [ "$1" = start-of ]; then
  start_of "$2"
  exit
fi

# Another's Miniflare in a process that has ours too.
[ -n "$MXFP4_EDGE_PIDS" ] || exec "$MXFP4_EDGE_WORKERD" "$@"

self=$$
parent=$PPID
start=$(start_of "$self")
note="$MXFP4_EDGE_PIDS/$self"
echo "$parent $(start_of "$parent") $start" > "$note"

parent_of_self() {
  if [ -r /proc/self/stat ]; then
    sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$self/stat"
  else
    ps -o ppid= -p "$self" | tr -d ' '
  fi 2> /dev/null
}

# A signal for the whole group, as Ctrl-C and `timeout` send, is for the parent alone, which needs workerd
# for what it does before it ends. Both processes below inherit this, but workerd listens to SIGTERM all
# the same: where there is a setsid, it leaves the group.
trap '' INT TERM HUP

(
  while [ "$(parent_of_self)" = "$parent" ]; do sleep 1; done
  # Not a later process that was given the same pid.
  [ "$(start_of "$self")" != "$start" ] || kill -9 "$self"
  rm -f "$note"
) < /dev/null > /dev/null 2>&1 3>&- &

if command -v setsid > /dev/null; then
  exec setsid "$MXFP4_EDGE_WORKERD" "$@"
fi
exec "$MXFP4_EDGE_WORKERD" "$@"
