# Loads an XDP program that drops every packet, and pins it at the path that is given: a
# node of the lab has no compiler for BPF. XDP programs are taken over by netdevs.
import ctypes, os, struct, sys

BPF_PROG_LOAD, BPF_OBJ_PIN, BPF_PROG_TYPE_XDP, XDP_DROP = 5, 6, 6, 1
libc = ctypes.CDLL(None, use_errno=True)

def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = libc.syscall(321, command, buffer, 128)
    if result < 0:
        sys.exit("bpf(%d): %s" % (command, os.strerror(ctypes.get_errno())))
    return result

instructions = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, XDP_DROP) + struct.pack("<BBhi", 0x95, 0, 0, 0), 16)
licence = ctypes.create_string_buffer(b"GPL")
program = bpf(BPF_PROG_LOAD, struct.pack("<IIQQ", BPF_PROG_TYPE_XDP, 2, ctypes.addressof(instructions), ctypes.addressof(licence)))
path = ctypes.create_string_buffer(sys.argv[1].encode())
bpf(BPF_OBJ_PIN, struct.pack("<QI", ctypes.addressof(path), program))
