# Reads a node for one sample: the links at their PFs, the agent's memory, its calls, and
# of each pod's processes the network namespace, the devices in the environment and the links.
host=$(readlink /proc/1/ns/net)
echo "host $(ip -j -d link show | tr -d '\n')"
for agent in $(pidof fairlead-agent); do
  echo "agent $agent $(awk '/^Vm(HWM|RSS)/{print $2}' "/proc/$agent/status" | tr '\n' ' ') $(ls "/proc/$agent/fd" | wc -l)"
done
grep -ahE 'msg="CNI call (done|failed)"' /var/log/pods/fairlead-system_fairlead-agent-*/agent/*.log | tail -n 150 | sed 's/^/call /'
declare -A shown
for f in /proc/[0-9]*/cgroup; do
  read -r line <"$f" || continue
  [[ $line =~ /pod([0-9a-f-]{36})/([0-9a-f]{64}) ]] || continue
  uid=${BASH_REMATCH[1]} container=${BASH_REMATCH[2]} pid=${f#/proc/}
  pid=${pid%/cgroup}
  ns=$(readlink "/proc/$pid/ns/net") || continue
  [ "$ns" = "$host" ] && continue
  echo "process $uid $container $ns $(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^PCIDEVICE_[A-Z0-9_]*=\([0-9a-f]\{4\}:\)/\1/p' | tr '\n' ' ')"
  [ -n "${shown[$ns]}" ] && continue
  shown[$ns]=1
  echo "links $uid $ns $(nsenter -t "$pid" -n ip -j -d addr show | tr -d '\n')"
done 2>/dev/null
true
