/* Many HTTP clients in one thread: opens streams, counts what comes, and is no bottleneck.

   Usage: client PORT PATH COUNT AT_ONCE [HEADER]
   "%d" in PATH stands for the number of the stream, from 0 on; no more than AT_ONCE streams wait for
   their response head at a time; HEADER is one more line of the request.

   An event is a '@' in what the server writes; 19 digits behind it are the nanoseconds of the monotonic
   clock at which somebody published it. Commands come on standard input, one a line, and each is answered
   by one line:

       heads SECONDS         wait until every stream has a response head: "ok" or "late OPEN"
       events N SECONDS      wait until N events came in all: "ok N LAST_NS" or "late N LAST_NS"
       latency               "ok COUNT P50 P99 MAX", microseconds from publication to here; forgets them
       reset                 forget the events so far: "ok"
*/
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SAMPLES = 8 << 20, DIGITS = 19, BUFFER = 256 * 1024 };

struct stream {
    int fd;
    uint8_t has_head, digits;
    uint32_t head_end;  /* the last four bytes of the head so far */
    uint64_t value;     /* of the digits so far */
};

static struct stream *streams;
static int count, next, at_once, opening, heads, closed, port, loop;
static const char *path, *header;
static uint64_t events, last_ns;
static uint32_t *samples;
static size_t sampled;
static char buffer[BUFFER];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    printf("failed %s: %s\n", what, strerror(errno));
    exit(1);
}

static void open_next(void) {
    struct stream *s = &streams[next];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    char place[512], request[2048];
    snprintf(place, sizeof place, path, next);
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n%s%s\r\n", place,
                        header, *header ? "\r\n" : "");
    if (write(s->fd, request, (size_t)size) != size) die("write");
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)next};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, s->fd, &event)) die("epoll");
    next++;
    opening++;
}

static void take_digit(struct stream *s, char digit) {
    if (digit < '0' || digit > '9') {
        s->digits = 0;
        return;
    }
    s->value = s->value * 10 + (uint64_t)(digit - '0');
    if (--s->digits == 0 && sampled < MAX_SAMPLES) samples[sampled++] = (uint32_t)((last_ns - s->value) / 1000);
}

static void take(struct stream *s, const char *data, size_t size) {
    const char *end = data + size;
    while (!s->has_head && data < end) {
        s->head_end = s->head_end << 8 | (uint8_t)*data++;
        if (s->head_end == 0x0d0a0d0a) {
            s->has_head = 1;
            heads++;
            opening--;
        }
    }
    while (data < end) {
        if (s->digits) {
            take_digit(s, *data++);
            continue;
        }
        data = memchr(data, '@', (size_t)(end - data));
        if (!data) return;
        data++;
        events++;
        s->digits = DIGITS;
        s->value = 0;
    }
}

static void readable(struct stream *s) {
    ssize_t size = read(s->fd, buffer, BUFFER);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        close(s->fd);
        if (!s->has_head) opening--;
        closed++;
        return;
    }
    last_ns = now_ns();
    take(s, buffer, (size_t)size);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void tell_latency(void) {
    qsort(samples, sampled, sizeof *samples, by_size);
    if (sampled)
        printf("ok %zu %u %u %u\n", sampled, samples[sampled / 2], samples[sampled * 99 / 100],
               samples[sampled - 1]);
    else
        printf("ok 0 0 0 0\n");
    sampled = 0;
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    port = atoi(argv[1]);
    path = argv[2];
    count = atoi(argv[3]);
    at_once = atoi(argv[4]);
    header = argc > 5 ? argv[5] : "";
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    setvbuf(stdout, NULL, _IOLBF, 0);
    streams = calloc((size_t)count, sizeof *streams);
    samples = malloc(MAX_SAMPLES * sizeof *samples);
    loop = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.u32 = UINT32_MAX}, ready[512];
    if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, 0, &input)) die("epoll");

    char command[256], waiting = 0;
    uint64_t wanted = 0, deadline = 0;
    for (;;) {
        while (next < count && opening < at_once) open_next();
        int number = epoll_wait(loop, ready, 512, waiting ? 20 : -1);
        for (int i = 0; i < number; i++) {
            if (ready[i].data.u32 != UINT32_MAX) {
                readable(&streams[ready[i].data.u32]);
                continue;
            }
            ssize_t size = read(0, command, sizeof command - 1);
            if (size <= 0) return 0;
            command[size] = 0;
            double seconds = 0;
            unsigned long long n = 0;
            if (sscanf(command, "heads %lf", &seconds) == 1) {
                waiting = 'h';
            } else if (sscanf(command, "events %llu %lf", &n, &seconds) == 2) {
                waiting = 'e';
                wanted = n;
            } else if (!strncmp(command, "latency", 7)) {
                tell_latency();
            } else if (!strncmp(command, "reset", 5)) {
                events = sampled = 0;
                printf("ok\n");
            }
            deadline = now_ns() + (uint64_t)(seconds * 1e9);
        }
        int done = waiting == 'h' ? heads == count : events >= wanted;
        int late = waiting && !done && (now_ns() > deadline || (waiting == 'e' && closed));
        if (waiting && (done || late)) {
            const char *word = done ? "ok" : "late";
            if (waiting == 'h')
                printf("%s %d\n", word, heads);
            else
                printf("%s %llu %llu\n", word, (unsigned long long)events, (unsigned long long)last_ns);
            waiting = 0;
        }
    }
}
