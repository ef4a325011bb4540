# What becomes of super-frames on a kernel that breaks them: noticed at the start, or while they cross.
#
#   left 10.107.0.2 ---- the router, whose write(2) refuses super-frames ---- right 10.107.0.3
#
# A library that is loaded before the C library plays the broken kernel: while the first byte of $W/broken is `1`, a
# write of a frame that asks for segmentation fails with EINVAL, as kernels have done. The byte is mapped: a router
# thread may not look at a file.

. "$(dirname "$0")/lib.sh"

printf 0 >"$W/broken"
cat >"$W/broken.c" <<C
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
static volatile const char *broken = "0";
static ssize_t (*real)(int, const void *, size_t);
__attribute__((constructor)) static void prepare(void) {
  int fd = open("$W/broken", O_RDONLY | O_CLOEXEC);
  void *byte = mmap(0, 1, PROT_READ, MAP_SHARED, fd, 0);
  if (byte != MAP_FAILED) broken = byte;
  close(fd);
  real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
}
ssize_t write(int fd, const void *bytes, size_t length) {
  const unsigned char *frame = bytes;
  /* A virtio header with a checksum to finish and a segmentation, then IP. */
  if (*broken == '1' && length > 40 && frame[0] == 1 && frame[1] && (frame[10] >> 4 == 4 || frame[10] >> 4 == 6)) {
    errno = EINVAL;
    return -1;
  }
  return real(fd, bytes, length);
}
C
cc -shared -fPIC -o "$W/broken.so" "$W/broken.c" -ldl
for name in left:2 right:3; do
  drop_vassal "${name%:*}" <<Y
command: [mini-emperor, demo, serve, --port, "8080"]
network: {address: 10.107.0.${name#*:}}
Y
done
break_kernel() { printf 1 | dd of="$W/broken" conv=notrunc status=none; }
broken_emperor() {
  sed -i "s/^router: .*/router: {address: 10.107.0.1\/24, engine: epoll, offload: $1}/" "$SETTINGS"
  LD_PRELOAD=$W/broken.so start_emperor
}
transfer() {
  nsenter -t "$(vassal_pid right)" -n -- iperf3 -s -1 -p 5201 >/dev/null 2>&1 &
  local server=$!
  wait_for 15 listening right 5201 || return 1
  in_vassal left iperf3 -c 10.107.0.3 -p 5201 -n 50M --json >"$W/iperf.json" || { jq -r .error "$W/iperf.json"; kill $server; return 1; }
  wait $server
  # What is still on its way at the end is not counted by the receiver.
  more_than 40000000 jq .end.sum_received.bytes "$W/iperf.json"
}
listening() { in_vassal "$1" ss -Hltn "sport = :$2" | grep .; }

broken_emperor auto
wait_running left
wait_running right
check "a sound kernel keeps its offloads" logged "uplink up" "offload=checksum,tso,uso"
check "a stream crosses" transfer
check "nothing had to be cut" is 0 counter right segmented_packets
break_kernel
check "a kernel that begins to refuse super-frames stops no stream" transfer
check "they are cut in software, and counted" more_than 100 counter right segmented_packets
check "and none is lost for it" is 0 counter right dropped.queue_full
check "the emperor ends with 0" stop_emperor

broken_emperor auto
wait_running left
wait_running right
check "a kernel that is broken from the start is found out" logged WARN "this kernel breaks super-frames"
check "offloads are off then" logged "uplink up" "offload=off"
check "a stream crosses, cut by the kernel itself" transfer
check "nothing was cut here" is 0 counter right segmented_packets
check "the emperor ends with 0" stop_emperor

sed -i 's/offload: auto/offload: on/' "$SETTINGS"
refused() { fails env LD_PRELOAD="$W/broken.so" "$EMPEROR" run "$VASSALS" --config "$SETTINGS"; }
check "offloads that are demanded and broken refuse the start, with advice" says "set router.offload to auto or off" refused
check "the shape is named" says "TCP over IPv4" refused
