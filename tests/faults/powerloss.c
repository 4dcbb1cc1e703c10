/*
 * A disk that loses what was not synced, preloaded into the program (LD_PRELOAD).
 *
 * POWERLOSS_ROOT    the folder on that disk
 * POWERLOSS_SHADOW  where what would survive a power loss is kept; filled from the root when the process starts
 * POWERLOSS_FAIL    CALL:ERROR:NTH[+] with CALL fsync or write: the NTH call on that disk fails, with a + all from there on;
 *                   ERROR is EIO, ENOSPC, EROFS, KILL, which ends the process in the middle of the call, or STALL, which
 *                   keeps it waiting for ten seconds before it fails
 * POWERLOSS_ONLY    only calls on files whose name ends with this are counted for POWERLOSS_FAIL
 * POWERLOSS_CLOCK   a file of eight bytes, mapped: milliseconds that the wall clock is ahead
 *
 * The shadow has a file for each inode, named by its key, with its synced bytes, and "names": a line "KEY INODE PATH" for
 * each name in a folder as of that folder's last sync. The rules are those of POSIX, taken strictly: bytes and length are safe
 * after fsync or fdatasync of their file (or at once with O_SYNC and O_DSYNC), a name after fsync of its folder. As on
 * Linux, what could not be synced is dropped: a second fsync says "fine" and writes nothing.
 *
 * What is mapped into memory is not followed: SQLite's shared index is, and is made anew after every crash.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MAX_FILES = 256, MAX_NAMES = 512 };

struct file {
    ino_t inode; /* 0: it has no name any more, and its number may be another's */
    int key;
    unsigned char *dirty; /* a bit for each page */
    size_t pages;
    int resized;
};

struct name {
    char path[PATH_MAX]; /* from the root */
    int key;             /* 0: a folder */
    ino_t inode;
};

static char root[PATH_MAX], shadow[PATH_MAX];
static size_t root_length;
static dev_t device;
static struct file files[MAX_FILES];
static struct name names[MAX_NAMES];
static int file_count, name_count, next_key = 1;
static const char *fail_call, *fail_only;
static int fail_error, fail_for_good, kills, stalls;
static long fail_nth, calls;
static volatile long long *ahead_ms;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) static type (*real_##name)(__VA_ARGS__)
REAL(ssize_t, write, int, const void *, size_t);
REAL(ssize_t, writev, int, const struct iovec *, int);
REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
REAL(int, ftruncate, int, off_t);
REAL(int, fsync, int);
REAL(int, fdatasync, int);
REAL(int, unlink, const char *);
REAL(int, unlinkat, int, const char *, int);
REAL(int, rename, const char *, const char *);

static void die(const char *what) {
    dprintf(2, "powerloss: %s: %s\n", what, strerror(errno));
    abort();
}

static void shadow_path(char *to, const char *name) {
    if (snprintf(to, PATH_MAX, "%s/%s", shadow, name) >= PATH_MAX) die("a long path");
}

static void key_path(char *to, int key) {
    char name[32];
    snprintf(name, sizeof name, "%d", key);
    shadow_path(to, name);
}

static struct file *by_inode(ino_t inode) {
    for (int i = 0; i < file_count; i++)
        if (files[i].inode == inode) return &files[i];
    return NULL;
}

static struct file *track(ino_t inode) {
    struct file *file = by_inode(inode);
    if (file) return file;
    if (file_count == MAX_FILES) die("too many files");
    file = &files[file_count++];
    memset(file, 0, sizeof *file);
    file->inode = inode;
    file->key = next_key++;
    return file;
}

/* The path of a descriptor from the root, or NULL if it is elsewhere. */
static const char *inside(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    if (strncmp(buffer, root, root_length) || (buffer[root_length] && buffer[root_length] != '/')) return NULL;
    return buffer[root_length] ? buffer + root_length + 1 : buffer + root_length;
}

/* The file behind a descriptor, if it is on the disk. The lock is held. */
static struct file *of(int fd) {
    struct stat status;
    char buffer[PATH_MAX];
    if (!root_length || fstat(fd, &status) || !S_ISREG(status.st_mode) || status.st_dev != device) return NULL;
    struct file *file = by_inode(status.st_ino);
    if (file) return file;
    const char *path = inside(fd, buffer);
    if (!path || status.st_nlink == 0) return NULL;
    return track(status.st_ino);
}

static void touch(struct file *file, off_t from, size_t length) {
    size_t end = (size_t)(from + (off_t)length + PAGE - 1) / PAGE;
    if (end > file->pages) {
        size_t old = (file->pages + 7) / 8, bytes = (end * 2 + 7) / 8;
        file->dirty = realloc(file->dirty, bytes);
        if (!file->dirty) die("no memory");
        memset(file->dirty + old, 0, bytes - old);
        file->pages = end * 2;
    }
    for (size_t page = (size_t)from / PAGE; page < end; page++) file->dirty[page / 8] |= 1 << page % 8;
}

static void forget_dirty(struct file *file) {
    if (file->dirty) memset(file->dirty, 0, (file->pages + 7) / 8);
    file->resized = 0;
}

/* What is dirty becomes what survives. */
static void keep(struct file *file, int fd) {
    char path[PATH_MAX], page[PAGE];
    struct stat status;
    key_path(path, file->key);
    int to = open(path, O_WRONLY | O_CREAT, 0600);
    snprintf(page, sizeof page, "/proc/self/fd/%d", fd);
    int from = open(page, O_RDONLY);
    if (to < 0 || from < 0 || fstat(from, &status)) die("a sync");
    for (size_t number = 0; number < file->pages; number++) {
        if (!(file->dirty[number / 8] & 1 << number % 8)) continue;
        ssize_t length = pread(from, page, PAGE, (off_t)number * PAGE);
        if (length < 0 || real_pwrite(to, page, (size_t)length, (off_t)number * PAGE) != length) die("a sync");
    }
    if (real_ftruncate(to, status.st_size)) die("a sync");
    close(from);
    close(to);
    forget_dirty(file);
}

static void write_names(void) {
    char half[PATH_MAX], whole[PATH_MAX];
    shadow_path(half, "names.half");
    shadow_path(whole, "names");
    FILE *to = fopen(half, "w");
    if (!to) die("names");
    for (int i = 0; i < name_count; i++) 
        fprintf(to, "%d %llu %s\n", names[i].key, (unsigned long long)names[i].inode, names[i].path);
    if (fclose(to) || real_rename(half, whole)) die("names");
}

/* The names in a folder become what survives. `folder` is from the root, "" for the root itself. */
static void keep_names(const char *folder, int with_content) {
    char path[PATH_MAX];
    size_t length = strlen(folder);
    int kept = 0;
    for (int i = 0; i < name_count; i++) {
        const char *slash = strrchr(names[i].path, '/');
        size_t parent = slash ? (size_t)(slash - names[i].path) : 0;
        if (parent == length && !strncmp(names[i].path, folder, length)) continue;
        if (kept != i) names[kept] = names[i];
        kept++;
    }
    name_count = kept;
    if (snprintf(path, sizeof path, "%s/%s", root, folder) >= PATH_MAX) die("a long path");
    DIR *entries = opendir(path);
    if (!entries) die(path);
    for (struct dirent *entry; (entry = readdir(entries));) {
        struct stat status;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (fstatat(dirfd(entries), entry->d_name, &status, AT_SYMLINK_NOFOLLOW)) continue;
        int is_folder = S_ISDIR(status.st_mode);
        if (!is_folder && !S_ISREG(status.st_mode)) continue;
        if (name_count == MAX_NAMES) die("too many names");
        struct name *name = &names[name_count++];
        if (snprintf(name->path, PATH_MAX, "%s%s%s", folder, length ? "/" : "", entry->d_name) >= PATH_MAX)
            die("a long path");
        struct file *file = is_folder ? NULL : track(status.st_ino);
        name->key = file ? file->key : 0;
        name->inode = status.st_ino;
        if (file && with_content) {
            int fd = openat(dirfd(entries), entry->d_name, O_RDONLY);
            touch(file, 0, (size_t)status.st_size);
            keep(file, fd);
            close(fd);
        }
        if (is_folder && with_content) {
            char inner[PATH_MAX];
            memcpy(inner, name->path, PATH_MAX);
            keep_names(inner, 1);
        }
    }
    closedir(entries);
}

__attribute__((constructor)) static void begin(void) {
#define FIND(name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)
    FIND(write), FIND(writev), FIND(pwrite), FIND(ftruncate), FIND(fsync), FIND(fdatasync);
    FIND(unlink), FIND(unlinkat), FIND(rename);
    const char *clock = getenv("POWERLOSS_CLOCK");
    if (clock) {
        int fd = open(clock, O_RDONLY);
        ahead_ms = mmap(NULL, sizeof *ahead_ms, PROT_READ, MAP_SHARED, fd, 0);
        if (fd < 0 || ahead_ms == MAP_FAILED) die("the clock");
        close(fd);
    }
    const char *disk = getenv("POWERLOSS_ROOT"), *copy = getenv("POWERLOSS_SHADOW");
    if (!disk || !copy) return;
    struct stat status;
    if (!realpath(disk, root) || !realpath(copy, shadow) || stat(root, &status)) die("the folders");
    device = status.st_dev;
    root_length = strlen(root);
    const char *fail = getenv("POWERLOSS_FAIL");
    fail_only = getenv("POWERLOSS_ONLY");
    if (fail) {
        static char order[64];
        snprintf(order, sizeof order, "%s", fail);
        fail_call = strtok(order, ":");
        const char *error = strtok(NULL, ":"), *nth = strtok(NULL, ":");
        if (!error || !nth) die("POWERLOSS_FAIL");
        kills = !strcmp(error, "KILL");
        stalls = !strcmp(error, "STALL");
        fail_error = !strcmp(error, "ENOSPC") ? ENOSPC : !strcmp(error, "EROFS") ? EROFS : EIO;
        fail_nth = atol(nth);
        fail_for_good = strchr(nth, '+') != NULL;
    }
    keep_names("", 1);
    write_names();
}

/* Whether this call has to fail. The lock is held. */
static int fails(const char *call, int fd) {
    char buffer[PATH_MAX];
    if (!fail_call || strcmp(fail_call, call)) return 0;
    if (fail_only) {
        const char *path = inside(fd, buffer);
        size_t length = path ? strlen(path) : 0, only = strlen(fail_only);
        if (length < only || strcmp(path + length - only, fail_only)) return 0;
    }
    calls++;
    if (calls != fail_nth && !(fail_for_good && calls > fail_nth)) return 0;
    if (kills) raise(SIGKILL);
    if (stalls) {
        /* It is this call that waits, and nobody else. */
        pthread_mutex_unlock(&lock);
        sleep(10);
        pthread_mutex_lock(&lock);
    }
    return 1;
}

/* What a write leads to; `at` is where it was, -1 if that is where the descriptor now stands. The lock is held. */
static void written(struct file *file, int fd, off_t at, ssize_t length) {
    if (length <= 0) return;
    if (at < 0) at = lseek(fd, 0, SEEK_CUR) - length;
    touch(file, at, (size_t)length);
    if (fcntl(fd, F_GETFL) & O_DSYNC) keep(file, fd);
}

/* Does a write under the lock, so that no sync comes between the bytes and the note about them. */
#define WRITE(call, at)                                                                                             \
    pthread_mutex_lock(&lock);                                                                                      \
    struct file *file = of(fd);                                                                                     \
    ssize_t done;                                                                                                   \
    if (file && fails("write", fd)) {                                                                               \
        errno = fail_error;                                                                                         \
        done = -1;                                                                                                  \
    } else {                                                                                                        \
        done = call;                                                                                                \
        int error = errno;                                                                                          \
        if (file) written(file, fd, at, done);                                                                      \
        errno = error;                                                                                              \
    }                                                                                                               \
    pthread_mutex_unlock(&lock);                                                                                    \
    return done

/* Only regular files may be written to under the lock: a pipe or a socket may keep a thread waiting. */
static int is_on_disk(int fd) {
    struct stat status;
    return root_length && !fstat(fd, &status) && S_ISREG(status.st_mode) && status.st_dev == device;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!is_on_disk(fd)) return real_write(fd, bytes, length);
    WRITE(real_write(fd, bytes, length), -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!is_on_disk(fd)) return real_writev(fd, parts, count);
    WRITE(real_writev(fd, parts, count), -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    if (!is_on_disk(fd)) return real_pwrite(fd, bytes, length, at);
    WRITE(real_pwrite(fd, bytes, length, at), at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) { return pwrite(fd, bytes, length, at); }

int ftruncate(int fd, off_t length) {
    pthread_mutex_lock(&lock);
    struct file *file = of(fd);
    int done = real_ftruncate(fd, length);
    if (file && !done) file->resized = 1;
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

static int synced(int fd, int (*sync)(int)) {
    struct stat status;
    char buffer[PATH_MAX];
    if (!root_length || fstat(fd, &status) || status.st_dev != device) return sync(fd);
    pthread_mutex_lock(&lock);
    int done = 0;
    struct file *file = S_ISREG(status.st_mode) ? of(fd) : NULL;
    const char *path = S_ISDIR(status.st_mode) ? inside(fd, buffer) : NULL;
    if (!file && !path) {
        done = sync(fd);
    } else if (fails("fsync", fd)) {
        if (file) forget_dirty(file);
        errno = fail_error;
        done = -1;
    } else if (file) {
        keep(file, fd);
    } else {
        keep_names(path, 0);
        write_names();
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

/* A file that loses its last name gives its number away. */
static void retire(int folder, const char *path) {
    struct stat status;
    if (!root_length || fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) || status.st_dev != device) return;
    struct file *file = S_ISREG(status.st_mode) && status.st_nlink == 1 ? by_inode(status.st_ino) : NULL;
    if (file) file->inode = 0;
}

int unlinkat(int folder, const char *path, int flags) {
    pthread_mutex_lock(&lock);
    if (!(flags & AT_REMOVEDIR)) retire(folder, path);
    int done = real_unlinkat(folder, path, flags);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    retire(AT_FDCWD, path);
    int done = real_unlink(path);
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    retire(AT_FDCWD, to);
    int done = real_rename(from, to);
    pthread_mutex_unlock(&lock);
    return done;
}

// Allocators ask for the time before any constructor has run.
int clock_gettime(clockid_t clock, struct timespec *time) {
    int done = (int)syscall(SYS_clock_gettime, clock, time);
    if (!done && ahead_ms && clock == CLOCK_REALTIME) {
        long long ms = *ahead_ms, nanoseconds = time->tv_nsec + ms % 1000 * 1000000;
        time->tv_sec += ms / 1000 + (nanoseconds < 0 ? -1 : nanoseconds / 1000000000);
        time->tv_nsec = nanoseconds < 0 ? nanoseconds + 1000000000 : nanoseconds % 1000000000;
    }
    return done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int done = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return done;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
