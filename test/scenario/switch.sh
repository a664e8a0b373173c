# Needs: uid pf index vf address delegates macvlan
set -eu
pid=$(grep -ls "pod$uid" /proc/[0-9]*/cgroup | head -n 1 | cut -d/ -f3)
id=$(ctr -n k8s.io containers list -q "labels.\"io.kubernetes.pod.uid\"==$uid,labels.\"io.cri-containerd.kind\"==sandbox")
ns=$(ip netns identify "$pid")
[ -n "$pid" ] && [ -n "$id" ] && [ -n "$ns" ]
mac=$(cat "/sys/class/net/$vf/address")
mtu=$(cat "/sys/class/net/$vf/mtu")

# sriov-cni
ip link set "$pf" vf "$index" vlan 141
ip link set "$pf" vf "$index" trust on
ip link set "$vf" netns "$ns"
ip -n "$ns" link set "$vf" name net1
ip -n "$ns" addr add 10.141.0.2/24 dev net1
ip -n "$ns" link set net1 up
mkdir -p /var/lib/cni/networks/switched-vf /var/lib/cni/sriov/pci
printf '%s\r\nnet1' "$id" > /var/lib/cni/networks/switched-vf/10.141.0.2
printf '/var/run/netns/%s' "$ns" > "/var/lib/cni/sriov/pci/$address"
cat > "/var/lib/cni/sriov/$id-net1" <<JSON
{"cniVersion":"0.3.1","name":"switched-vf","type":"sriov","ipam":{"type":"host-local"},
"OrigVfState":{"HostIFName":"$vf","SpoofChk":true,"Trust":false,"AdminMAC":"$mac","EffectiveMAC":"$mac","Vlan":0,"VlanQoS":0,"VlanProto":33024,"MinTxRate":0,"MaxTxRate":0,"LinkState":0,"MTU":$mtu},
"DPDKMode":false,"Master":"$pf","MAC":"","vlan":141,"vlanQoS":0,"deviceID":"$address","VFID":$index,"ContIFNames":"net1","min_tx_rate":null,"max_tx_rate":null,"trust":"on"}
JSON

# The stock macvlan plugin
echo "$macvlan" | CNI_COMMAND=ADD CNI_CONTAINERID="$id" CNI_NETNS="/var/run/netns/$ns" CNI_IFNAME=net2 CNI_PATH=/opt/cni/bin CNI_ARGS= \
  /opt/cni/bin/macvlan

# Multus
mkdir -p /var/lib/cni/multus
echo "$delegates" > "/var/lib/cni/multus/$id"
