/* A disk that can be disturbed, put in front of the C library (LD_PRELOAD). It concerns files of the log (their path has
 * "/log.db"), of the store ("/store.db") and of the objects ("/objects/"), but not the shared memory beside them.
 *
 * PULSE_DISK=DIR. Before each write to the log the bytes that it replaces go to DIR/undo; each sync that worked is noted there
 * with how far it reaches. So a loss of power can be played afterwards: writes that no sync covers are taken back.
 * What happens to objects (writes, syncs, renames, syncs of their folder) goes to DIR/journal for the same purpose.
 * DIR/full: writes to the log find no space. DIR/sync-fails: its syncs fail. DIR/sync-lies: they do nothing and say they did.
 * DIR/slow: they take two seconds. The same for objects with "objects-" in front, and for the store: DIR/store-full.
 * PULSE_DISK_DIE=N: killed in front of the N-th step that objects are made durable or removed by.
 * DIR/clock: what is in it (seconds) is added to the clock on the wall.
 * Absent: truncation and renaming of the log, which it does not use while it is open; removals that are taken back. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NOT_OURS = 0, DATABASE = 1, WAL = 2, OTHER = 3, STORE = 4, OBJECT = 5 };
struct note { uint32_t sync, file; uint64_t at, bytes; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    path[n > 0 ? n : 0] = 0;
    return n > 0;
}
static int is_object(const char *path) {
    const char *name = strstr(path, "/objects");
    return name && (name[8] == '/' || name[8] == 0);
}
static int which(int fd) {
    char path[4096];
    if (!getenv("PULSE_DISK") || !path_of(fd, path)) return NOT_OURS;
    if (is_object(path)) return OBJECT;
    char *name = strstr(path, "/store.db");
    if (name) return !strcmp(name, "/store.db-shm") ? NOT_OURS : STORE;
    name = strstr(path, "/log.db");
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
/* Notes what became of an object. */
static void journal(char what, const char *path, const char *to) {
    static int fd = -1;
    char name[4096], line[8300];
    pthread_mutex_lock(&lock);
    if (fd < 0) {
        snprintf(name, sizeof name, "%s/journal", getenv("PULSE_DISK"));
        fd = open(name, O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    }
    int n = snprintf(line, sizeof line, "%c\t%s\t%s\n", what, path, to);
    struct iovec part = { line, n };
    if (writev(fd, &part, 1) != n) abort();
    pthread_mutex_unlock(&lock);
}
/* One more step that makes objects durable or removes them. */
static void step(void) {
    static int steps;
    const char *at = getenv("PULSE_DISK_DIE");
    if (at && __sync_add_and_fetch(&steps, 1) == atoi(at)) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}
/* Notes what a write is about to replace; beyond the end it replaces zeros. */
static int before_write(int fd, uint64_t at, size_t bytes) {
    int file = which(fd);
    if (file == NOT_OURS) return 0;
    if (is_on(file == OBJECT ? "objects-full" : file == STORE ? "store-full" : "full")) { errno = ENOSPC; return -1; }
    if (file == STORE) return 0;
    if (file == OBJECT) {
        char path[4096];
        if (path_of(fd, path)) journal('w', path, "");
        return 0;
    }
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
static void slow(const char *name) {
    struct timespec time = { 2, 0 };
    if (is_on(name)) nanosleep(&time, NULL);
}
static int object_synced(int fd, int (*real)(int)) {
    char path[4096];
    struct stat stat;
    step();
    slow("objects-slow");
    if (is_on("objects-sync-fails")) { errno = EIO; return -1; }
    if (is_on("objects-sync-lies")) return 0;
    int result = real(fd);
    if (result == 0 && path_of(fd, path) && fstat(fd, &stat) == 0) journal(S_ISDIR(stat.st_mode) ? 'd' : 's', path, "");
    return result;
}
static int synced(int fd, int (*real)(int)) {
    int file = which(fd);
    if (file == OBJECT) return object_synced(fd, real);
    if (file != DATABASE && file != WAL) return real(fd);
    slow("slow");
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
int rename(const char *from, const char *to) {
    int ours = getenv("PULSE_DISK") && is_object(to);
    if (ours) step();
    int result = REAL(rename)(from, to);
    if (ours && result == 0) journal('r', from, to);
    return result;
}
int unlink(const char *path) {
    if (getenv("PULSE_DISK") && is_object(path)) step();
    return REAL(unlink)(path);
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    static __typeof__(&clock_gettime) real;
    static __thread unsigned asked;
    static volatile long ahead;
    if (!real) real = REAL(clock_gettime);
    int result = real(clock, time);
    if (clock != CLOCK_REALTIME || result || !getenv("PULSE_DISK")) return result;
    if (asked++ % 64 == 0) {
        char path[4096], text[32] = "";
        snprintf(path, sizeof path, "%s/clock", getenv("PULSE_DISK"));
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
            close(fd);
        }
        ahead = atol(text);
    }
    time->tv_sec += ahead;
    return result;
}
