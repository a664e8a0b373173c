#!/bin/sh
# Called by mmdebstrap with the new root file system as $1.
# dpdk-testpmd is in dpdk-dev, whose other dependencies (headers, Python) a node does
# not need. So its libraries are installed, and the program is unpacked.
set -e
libs=$(chroot "$1" apt-cache show --no-all-versions dpdk-dev | sed -n 's/^Depends: //p' | tr ',' '\n' |
	sed 's/(.*//; s/|.*//; s/:any//; s/ //g' | grep -v -e '^libdpdk-dev$' -e '^python3$' -e '^sse4')
chroot "$1" apt-get install -y -q --no-install-recommends $libs
chroot "$1" sh -ec 'cd /tmp && apt-get download -q dpdk-dev && dpkg-deb --fsys-tarfile dpdk-dev_*.deb | tar -x -C / ./usr/bin/dpdk-testpmd; rm -f dpdk-dev_*.deb'
# Hard links: a pod that mounts only this folder must be able to run them.
mkdir -p "$1/opt/cni/bin"
ln "$1"/usr/lib/cni/* "$1/opt/cni/bin/"
# Remove files that describe the machine that made this.
: >"$1/etc/resolv.conf"
rm -f "$1"/etc/cni/net.d/* "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*
