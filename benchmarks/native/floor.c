/* The floor: sends the same bytes to every client again and again, and does nothing else.

   Usage: floor PORT. It says "ok" when it listens; whoever connects gets a response head.
   Commands come on standard input, one a line:

       send EVENTS INTERVAL_NS BYTES      an event has BYTES bytes; answered by "ok" when all are out
*/
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:\n\n";
static int *clients, connected;
static char frame[64 * 1024];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void send_all(long events, long interval_ns, int bytes) {
    for (uint64_t due = now_ns(); events--; due += (uint64_t)interval_ns) {
        memset(frame, 'x', (size_t)bytes);
        int written = sprintf(frame, "data:@%019llu", (unsigned long long)now_ns());
        frame[written] = 'x';
        frame[bytes - 2] = frame[bytes - 1] = '\n';
        for (int i = 0; i < connected; i++) send(clients[i], frame, (size_t)bytes, MSG_NOSIGNAL);
        uint64_t next = due + (uint64_t)interval_ns, now = now_ns();
        struct timespec pause = {0, next > now ? (long)(next - now) : 0};
        nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    clients = calloc(limit.rlim_max, sizeof *clients);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, loop = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 1024)) return 1;
    struct epoll_event ready = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &ready);
    ready.data.fd = 0;
    epoll_ctl(loop, EPOLL_CTL_ADD, 0, &ready);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ok\n");
    for (;;) {
        char line[4096];
        if (epoll_wait(loop, &ready, 1, -1) < 1) continue; /* it was stopped for a while */
        if (ready.data.fd == listener) {
            int client = accept(listener, NULL, NULL);
            if (client < 0) return 1;
            (void)!read(client, line, sizeof line);
            setsockopt(client, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
            send(client, head, sizeof head - 1, MSG_NOSIGNAL);
            clients[connected++] = client;
            continue;
        }
        ssize_t size = read(0, line, sizeof line - 1);
        if (size <= 0) return 0;
        line[size] = 0;
        long events, interval_ns;
        int bytes;
        if (sscanf(line, "send %ld %ld %d", &events, &interval_ns, &bytes) != 3) return 2;
        send_all(events, interval_ns, bytes);
        printf("ok\n");
    }
}
