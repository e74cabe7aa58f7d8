# A real Slurm of four nodes on this machine, to be sourced: cluster_start FOLDER, cluster_stop. As root.
#
# Each node is a slurmd in name spaces of its own: host name n1 to n4, processes, /dev/shm, and /var/tmp where the PMIx servers
# of its steps meet. So killing the node's first process is the node's death, and nothing of it is left behind.
# munge has a key and a socket of the test's, and the nodes an /etc/hosts of their own: nothing of the machine's is touched.

# cluster_missing: why there can be no cluster here; nothing printed when there can.
cluster_missing() {
  [ "$(id -u)" = 0 ] || { echo "not root, and slurmd's nodes are name spaces that root makes"; return; }
  for program in slurmctld slurmd sbatch srun munged unshare; do
    command -v $program >/dev/null || PATH=$PATH:/usr/sbin command -v $program >/dev/null || { echo "$program is not installed"; return; }
  done
  [ "$(wc -l < /proc/net/route)" -gt 1 ] || { echo "no network but the loopback, and Slurm resolves no address then"; return; }
  unshare -m -u -p -f --mount-proc true 2>/dev/null || { echo "unshare is refused, so there can be no nodes"; return; }
}

cluster_configure() { # in $cluster
  local host
  host=$(hostname)
  cat > "$cluster/slurm.conf" <<C
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26999
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its old credential has expired: here seconds, by default two minutes.
AuthInfo=socket=$cluster/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=pmix
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool-%n
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd-%n.pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdLogFile=$cluster/slurmd-%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobRequeue=1
ReturnToService=2
SlurmdTimeout=6
KillWait=10
SchedulerParameters=bf_interval=1,sched_min_interval=200000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
$(for i in 1 2 3 4; do echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=2700$i CPUs=16 Weight=$((5 - i))"; done)
PartitionName=all Nodes=n1,n3 Default=YES PriorityTier=5
# n4 is taken first, and dies in the test
PartitionName=spare Nodes=n1,n3,n4 PriorityTier=5
PartitionName=low Nodes=n2 PriorityTier=1 GraceTime=20
PartitionName=high Nodes=n2 PriorityTier=9
C
  { cat /etc/hosts; printf '127.0.0.1 %s\n' "$host" n1 n2 n3 n4; } > "$cluster/hosts"
  echo "PMIxCliTmpDirBase=/var/tmp" > "$cluster/mpi.conf"
}

cluster_node() { # cluster_node n2: starts it; its first process is in $cluster/n2.pid
  mkdir -p "$cluster/spool-$1" "$cluster/tmp-$1"
  # shellcheck disable=SC2016 # expanded inside
  setsid unshare -m -u -p -f --kill-child --mount-proc bash -c '
    hostname "$1"; mount --bind "$2/hosts" /etc/hosts; mount --bind "$2/tmp-$1" /var/tmp; mount -t tmpfs -o size=512m tmpfs /dev/shm
    PATH=$PATH:/usr/sbin slurmd -N "$1" -D -f "$2/slurm.conf" & wait' node "$1" "$cluster" >"$cluster/node-$1.out" 2>&1 &
  echo $! > "$cluster/$1.pid"
}

cluster_start() { # cluster_start FOLDER
  cluster=$1
  mkdir -p "$cluster/state"
  chmod 755 "$cluster"
  export SLURM_CONF=$cluster/slurm.conf
  cluster_configure
  head -c 1024 /dev/urandom > "$cluster/munge.key"
  chmod 600 "$cluster/munge.key"
  PATH=$PATH:/usr/sbin setsid munged --foreground --force --key-file="$cluster/munge.key" --socket="$cluster/munge.socket" --pid-file="$cluster/munged.pid" \
    --log-file="$cluster/munged.log" --seed-file="$cluster/munged.seed" --num-threads=2 >/dev/null 2>&1 &
  echo $! > "$cluster/munge.pid"
  until [ -S "$cluster/munge.socket" ] || ! kill -0 $! 2>/dev/null; do sleep 0.1; done
  PATH=$PATH:/usr/sbin setsid slurmctld -D -f "$SLURM_CONF" >"$cluster/slurmctld.out" 2>&1 &
  echo $! > "$cluster/controller.pid"
  for node in n1 n2 n3 n4; do cluster_node $node; done
  for _ in $(seq 150); do
    [ "$(timeout 3 sinfo -h -N -p spare,low -t idle -o %N 2>/dev/null | sort -u | wc -l)" = 4 ] && return 0
    sleep 0.2
  done
  echo "the cluster did not come up:" && timeout 3 sinfo -N; tail -5 "$cluster"/*.log "$cluster"/*.out
  return 1
}

# The only child of a node's unshare is the first process of its name spaces.
cluster_first() {
  local unshare
  unshare=$(cat "$cluster/$1.pid")
  tr -d ' ' < "/proc/$unshare/task/$unshare/children"
}

# cluster_kill n4: as if its power had gone; all there end with its first process.
cluster_kill() {
  local first
  first=$(cluster_first "$1") && kill -KILL "$first"
} 2>/dev/null

# cluster_kill_process n4 123: one process, by its number there
cluster_kill_process() {
  nsenter -p -m -t "$(cluster_first "$1")" sh -c "kill -KILL $2"
}

cluster_stop() {
  [ -n "${cluster:-}" ] || return 0
  timeout 5 scancel --state=PENDING,RUNNING --me 2>/dev/null || true
  for node in n1 n2 n3 n4; do cluster_kill $node || true; done
  for daemon in controller munge; do
    [ -s "$cluster/$daemon.pid" ] && kill "$(cat "$cluster/$daemon.pid")" 2>/dev/null
  done
  wait
}
