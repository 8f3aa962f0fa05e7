/* Process 1 of the cold boot that pyro is compared with: does what `pyro run debian:12 -- true` does in its
 * guest and no more. Loads the drivers of a disk, mounts the environment's root, runs its `true`, and ends the
 * VM with a status that nothing else gives. Must never end it so when any of that failed. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* QEMU's isa-debug-exit makes 2 N + 1 of a number N written to its port: 33, which QEMU never ends with itself. */
#define EXIT_PORT 0xf4
#define EXIT_NUMBER 16

/* Ends the VM too, for QEMU is told not to reboot: but with status 0, which does not count here. */
static void give_up(const char *what) {
    perror(what);
    reboot(RB_AUTOBOOT);
}

static void load(const char *module) {
    int file = open(module, O_RDONLY | O_CLOEXEC);
    if (file < 0 || syscall(SYS_finit_module, file, "", 0) != 0) give_up(module);
    close(file);
}

static void mount_root(void) {
    mkdir("/dev", 0755);
    mkdir("/root", 0755);
    /* The kernel has mounted it where it was built to. */
    mount("devtmpfs", "/dev", "devtmpfs", 0, "");
    if (mount("/dev/vda", "/root", "ext4", MS_RDONLY, "") != 0) give_up("mount /dev/vda");
    if (chroot("/root") != 0 || chdir("/") != 0) give_up("chroot");
}

static int run(const char *program) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, (char *)0);
        _exit(127);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
}

int main(void) {
    /* In the order of their dependencies. */
    load("/virtio_ring.ko");
    load("/virtio.ko");
    load("/virtio_mmio.ko");
    load("/virtio_blk.ko");
    mount_root();
    if (run("/usr/bin/true") != 0) give_up("/usr/bin/true");
    if (iopl(3) != 0) give_up("iopl");
    outl(EXIT_NUMBER, EXIT_PORT);
    give_up("isa-debug-exit");
    return 1;
}
