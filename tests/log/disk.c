/* A disk that can be disturbed, put in front of the C library (LD_PRELOAD). It concerns files whose path has "/log.db",
 * but not the shared memory beside it.
 *
 * PULSE_DISK=DIR. Before each write the bytes that it replaces go to DIR/undo; each sync that worked is noted there with
 * how far it reaches. So a loss of power can be played afterwards: writes that no sync covers are taken back.
 * DIR/full: writes find no space. DIR/sync-fails: syncs fail. DIR/sync-lies: syncs do nothing and say they did.
 * Absent: truncation and renaming, which the log does not use while it is open. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOT_OURS = 0, DATABASE = 1, WAL = 2, OTHER = 3 };
struct note { uint32_t sync, file; uint64_t at, bytes; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int which(int fd) {
    char link[64], path[4096];
    if (!getenv("PULSE_DISK")) return NOT_OURS;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return NOT_OURS;
    path[n] = 0;
    char *name = strstr(path, "/log.db");
    if (!name || !strcmp(name, "/log.db-shm")) return NOT_OURS;
    return !strcmp(name, "/log.db") ? DATABASE : !strcmp(name, "/log.db-wal") ? WAL : OTHER;
}
static int is_on(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("PULSE_DISK"), name);
    return access(path, F_OK) == 0;
}
static int undo(void) {
    static int fd = -1;
    char path[4096];
    if (fd < 0) {
        snprintf(path, sizeof path, "%s/undo", getenv("PULSE_DISK"));
        fd = open(path, O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    }
    return fd;
}
/* Notes what a write is about to replace; beyond the end it replaces zeros. */
static int before_write(int fd, uint64_t at, size_t bytes) {
    int file = which(fd);
    if (file == NOT_OURS) return 0;
    if (is_on("full")) { errno = ENOSPC; return -1; }
    if (file == OTHER) return 0;
    struct note note = { 0, file, at, bytes };
    char *old = calloc(1, bytes + 1), link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    static int again[OTHER] = { -1, -1, -1 }; /* never closed: that would drop the process's locks on the file */
    pthread_mutex_lock(&lock);
    if (again[file] < 0) again[file] = open(link, O_RDONLY | O_CLOEXEC);
    if (again[file] < 0 || pread(again[file], old, bytes, at) < 0) abort();
    struct iovec parts[2] = { { &note, sizeof note }, { old, bytes } };
    ssize_t written = writev(undo(), parts, 2);
    pthread_mutex_unlock(&lock);
    free(old);
    if (written != (ssize_t)(sizeof note + bytes)) abort();
    return 0;
}
static int synced(int fd, int (*real)(int)) {
    int file = which(fd);
    if (file != DATABASE && file != WAL) return real(fd);
    if (is_on("sync-fails")) { errno = EIO; return -1; }
    if (is_on("sync-lies")) return 0;
    struct note note = { 1, file, lseek(undo(), 0, SEEK_END), 0 };
    int result = real(fd);
    pthread_mutex_lock(&lock);
    if (result == 0 && write(undo(), &note, sizeof note) != sizeof note) abort();
    pthread_mutex_unlock(&lock);
    return result;
}
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }
ssize_t write(int fd, const void *data, size_t bytes) {
    static __typeof__(&write) real;
    if (!real) real = REAL(write);
    if (which(fd) != NOT_OURS && before_write(fd, lseek(fd, 0, SEEK_CUR), bytes)) return -1;
    return real(fd, data, bytes);
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) {
    static __typeof__(&pwrite) real;
    if (!real) real = REAL(pwrite);
    return before_write(fd, at, bytes) ? -1 : real(fd, data, bytes, at);
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) {
    static __typeof__(&pwrite64) real;
    if (!real) real = REAL(pwrite64);
    return before_write(fd, at, bytes) ? -1 : real(fd, data, bytes, at);
}
