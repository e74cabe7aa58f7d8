# Hosts with a network between them, on this machine, to be sourced: network_start FOLDER, network_link, network_shape, network_stop.
# As root, and in a network and mount name space of the test's own (network_alone), so that nothing of the machine's is touched.
#
# Each host has name spaces of its own (network, host name, processes, /dev/shm) and hangs by a veth pair on one bridge, with the
# address 10.99.0.N; mpirun stands beside them at 10.99.0.254. network_agent is in place of ssh, and like ssh it needs the link.

# network_missing: why there can be no network here; nothing printed when there can.
network_missing() {
  [ "$(id -u)" = 0 ] || { echo "not root, and hosts are name spaces that root makes"; return; }
  for program in ip tc unshare nsenter; do
    command -v $program >/dev/null || PATH=$PATH:/usr/sbin command -v $program >/dev/null || { echo "$program is not installed"; return; }
  done
  unshare -n -m -u -p -f --mount-proc sh -c 'PATH=$PATH:/usr/sbin; ip link add veth0 type veth peer name veth1 && ip link add switch type bridge &&
    tc qdisc add dev veth0 root tbf rate 200mbit burst 16kb latency 5ms' 2>/dev/null || { echo "unshare, veth, bridges or token buckets are refused"; return; }
}

# network_alone SCRIPT ARGUMENT...: the script again, where it is alone with its network
network_alone() {
  [ -n "${NETWORK_ALONE:-}" ] || NETWORK_ALONE=yes exec unshare -n -m -p -f --kill-child --mount-proc bash "$@"
  PATH=$PATH:/usr/sbin
}

network_host() { # network_host 2: starts node02; its first process is in $network/node02.pid
  local host=node0$1
  # shellcheck disable=SC2016 # expanded inside
  unshare -n -u -m -p -f --kill-child --mount-proc sh -c 'hostname "$1"; mount -t tmpfs -o size=512m tmpfs /dev/shm; ip link set lo up; touch "$2"; exec sleep infinity' \
    host "$host" "$network/$host.up" &
  until [ -e "$network/$host.up" ]; do sleep 0.05; done
  tr -d ' ' < "/proc/$!/task/$!/children" > "$network/$host.pid"
  ip link add "$host" type veth peer name eth0 netns "$(cat "$network/$host.pid")"
  ip link set "$host" master switch up
  network_on "$host" sh -c "ip address add 10.99.0.$1/24 dev eth0 && ip link set eth0 up"
}

network_on() { # network_on node02 COMMAND...
  local host=$1
  shift
  nsenter -t "$(cat "$network/$host.pid")" -n -u -m -p -- "$@"
}

network_start() { # network_start FOLDER COUNT
  network=$1
  mkdir -p "$network"
  mount -t tmpfs -o size=512m tmpfs /dev/shm
  { cat /etc/hosts; for i in $(seq "$2"); do echo "10.99.0.$i node0$i"; done; echo "10.99.0.254 $(hostname)"; } > "$network/hosts"
  mount --bind "$network/hosts" /etc/hosts
  ip link set lo up
  ip link add name switch type bridge && ip link set switch up && ip address add 10.99.0.254/24 dev switch || return
  for i in $(seq "$2"); do network_host "$i" || return; done
  cat > "$network/agent" <<A
#!/bin/sh
host=\$1; shift
ip -o link show dev "\$host" | grep -q ' state UP ' || exit 255
exec nsenter -t "\$(cat "$network/\$host.pid")" -n -u -m -p --wd="\$PWD" -- sh -c "\$*"
A
  chmod +x "$network/agent"
  export OMPI_MCA_plm_rsh_agent=$network/agent OMPI_MCA_btl_tcp_if_include=10.99.0.0/24 OMPI_MCA_oob_tcp_if_include=10.99.0.0/24
}

network_link() { ip link set "$1" "$2"; } # network_link node02 down: pulls its cable
# network_shape node02 RATE LATENCY: what it sends and gets passes this bucket, and what waits longer is lost
network_shape() {
  tc qdisc add dev "$1" root tbf rate "$2" burst 16kb latency "$3"
  network_on "$1" tc qdisc add dev eth0 root tbf rate "$2" burst 16kb latency "$3"
}
network_straighten() {
  tc qdisc del dev "$1" root
  network_on "$1" tc qdisc del dev eth0 root
}
