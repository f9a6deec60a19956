/* Preloaded into a program: while the file named by FAILING_SYNC_WHILE is there, syncing a segment of a disk
   buffer fails with EIO, and what was written last is gone, as it is after a disk's error. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOST 64
static const char SUFFIX[] = ".segment";

static int fails(int fd)
{
    const char *flag = getenv("FAILING_SYNC_WHILE");
    char link[64], path[4096];
    ssize_t length;

    if (!flag || access(flag, F_OK) != 0)
        return 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    if (length < (ssize_t)strlen(SUFFIX))
        return 0;
    path[length] = '\0';
    return strcmp(path + length - strlen(SUFFIX), SUFFIX) == 0;
}

int fdatasync(int fd)
{
    static const char zeros[LOST];
    int (*real)(int);
    struct stat there;

    if (fails(fd)) {
        if (fstat(fd, &there) == 0 && there.st_size > LOST &&
            pwrite(fd, zeros, LOST, there.st_size - LOST) != LOST)
            abort();
        errno = EIO;
        return -1;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    return real ? real(fd) : fsync(fd);
}
