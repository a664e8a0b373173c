# Prints everything of a node that pods may leave behind, a line each, without the parts
# that differ between two equal states.
links() { ip -j -d addr show | tr -d '\n'; }
echo "links $(links)"
ip -4 route show table all | sed 's/^/route /'
ip -6 route show table all | grep -vE 'proto ra|fe80|ff00::' | sed 's/ expires [0-9a-z]*//; s/^/route6 /'
{ ip -4 rule; ip -6 rule; } | sed 's/^/rule /'
ip neigh show nud permanent | sed 's/^/neighbour /'
ls /run/netns | sed 's/^/netns file /'
lsns -t net -n -o NS | sed 's/.*/network namespace/'
for d in $(readlink -f /sys/class/net/pf*/device/virtfn* | sort -u); do
  echo "function ${d##*/} driver $(basename "$(readlink "$d/driver")") override $(cat "$d/driver_override") netdev $(ls "$d/net" 2>/dev/null | tr '\n' ' ')"
done
find /var/lib/cni /run/k8s.cni.cncf.io /run/fairlead /var/lib/fairlead /etc/cni /opt/cni/bin -type f -o -type s | sed 's/^/file /'
ls /var/lib/kubelet/pods | sed 's/^/pod directory /'
sed 's/^\(\S*\) \(\S*\) \(\S*\) .*/mount \1 \2 \3/' /proc/mounts
find /sys/fs/cgroup -type d -path '*kubepods*' | sed 's/^/cgroup /'
ctr -n k8s.io containers ls 'labels."io.kubernetes.pod.namespace"==soak' -q | sed 's/^/container /'
ps -eo ppid=,pid=,stat=,comm= | awk '$1 != 2 && $2 != 2 {print "process " $4 ($3 ~ /^Z/ ? " zombie" : "")}' |
  grep -vE ' (bash|ps|awk|grep|sed|sort|sleep|guestagent)$'
pgrep -x sleep -a | grep infinity | sed 's/^[0-9]* /process /'
iptables-save | grep -E 'CNI-|soak|veth' | sed 's/\[[0-9:]*\]//; s/^/iptables /'
dmesg | grep -E 'unregister_netdevice|BUG:|WARNING:|Oops|hung task|Out of memory' | sed 's/^\[[ 0-9.]*\] /kernel /'
/root/podresources | sed 's/^/kubelet /'
true
