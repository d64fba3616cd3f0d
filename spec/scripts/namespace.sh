#!/bin/sh
# Runs a command where the network is of our own making: namespace.sh DIR COMMAND...
# A fresh network namespace (and mounts), joined by a veth pair with another one in which the
# peers live; all of it goes with the processes. As root. DIR: room for files.
#   here   192.0.2.1, 2001:db8:1::1; the name server is the command itself, at 127.0.0.1:53
#   there  192.0.2.2 and .130, 2001:db8:1::2: port 7000 is answered; other ports refuse
#   192.0.2.66 to .69 and 2001:db8:1::66 to ::69: packets arrive there, and nobody takes them
set -e
if [ "$1" != inside ]; then
   if [ "$(id -u)" != 0 ]; then
      echo "network namespaces need root"
      exit 1
   fi
   exec unshare --net --mount sh "$0" inside "$@"
fi
shift
dir=$1
shift

echo "nameserver 127.0.0.1" > "$dir/resolv.conf"
echo "options timeout:30 attempts:1" >> "$dir/resolv.conf"
echo "127.0.0.1 localhost" > "$dir/hosts"
echo "hosts: files dns" > "$dir/nsswitch.conf"
for file in resolv.conf hosts nsswitch.conf; do
   mount --bind "$dir/$file" /etc/$file
done

mkfifo "$dir/there"
unshare --net sh -c 'echo > "$0/there"; ip link set lo up; read line < "$0/there"
   exec socat TCP6-LISTEN:7000,fork,reuseaddr,ipv6only=0 EXEC:"echo there"' "$dir" &
there=$!
trap 'kill $there' EXIT
read line < "$dir/there"

ip link set lo up
ip link add here type veth peer name there
ip link set there netns $there
on_there="nsenter -t $there -n ip"
ip addr add 192.0.2.1/24 dev here
ip addr add 2001:db8:1::1/64 dev here nodad
$on_there addr add 192.0.2.2/24 dev there
$on_there addr add 192.0.2.130/24 dev there
$on_there addr add 2001:db8:1::2/64 dev there nodad
ip link set here up
$on_there link set there up
mac=$($on_there link show there | sed -n 's|.*link/ether \([^ ]*\).*|\1|p')
for last in 66 67 68 69; do
   ip neigh add 192.0.2.$last lladdr "$mac" dev here
   ip neigh add 2001:db8:1::$last lladdr "$mac" dev here
done
echo > "$dir/there"
"$@"
