/* Requests at a rate, whatever becomes of them (open loop), or a number of them always in flight (closed loop).

   open_load PORT CONNECTIONS REQUEST RECORDS      reads its orders from standard input, one a line:

   open RATE MS      so many a second, at random moments (a Poisson process), over whichever connection is free
   closed N MS       N always in flight
   rest MS           nothing new is sent

   and answers each with `BEGAN ENDED SENT UNSENT BUSY`, seconds but the counts; UNSENT found no free connection,
   BUSY is processor time of this program. At the end of its orders it waits for what is under way (5 s at most)
   and writes RECORDS: for each request four doubles: when it was due, when its first byte was sent, when the last
   byte of its answer was read (seconds; 0: never), and the answer's status (0: the connection broke). Connections
   are opened when they are needed, kept, and used in turn. What the server closes after an answer is opened again.
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINES = 16384, MAX_ANSWER = 65536, PATIENCE_S = 5 };

struct line { int fd, busy, closes; size_t sent, got; char *answer; long record; };
struct record { double due, sent, answered, status; };

static struct sockaddr_in address;
static struct line lines[MAX_LINES];
static int poller, most, used, under_way, closed_loop;
static int queue[MAX_LINES], first_free, many_free;   /* a ring */
static char *request;
static size_t request_bytes;
static struct record *records;
static long count, room, unsent;
static unsigned long long dice = 88172645463325252ull;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static double busy(void) {
    struct timespec at;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static double pause_at(double rate) {   /* exponential; xorshift64, so that each run sends at the same moments */
    dice ^= dice << 13; dice ^= dice >> 7; dice ^= dice << 17;
    return -log(((double)(dice >> 11) + 1) * 0x1p-53) / rate;
}

static void fail(const char *why) {
    fprintf(stderr, "open_load: %s: %s\n", why, strerror(errno));
    exit(1);
}

static void open_line(struct line *line) {
    int on = 1;
    line->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (line->fd < 0) fail("no socket");
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(line->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) fail("cannot connect");
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = line};
    epoll_ctl(poller, EPOLL_CTL_ADD, line->fd, &wanted);
}

static void push(struct line *line) {
    while (line->busy && line->sent < request_bytes) {
        ssize_t sent = send(line->fd, request + line->sent, request_bytes - line->sent, MSG_NOSIGNAL);
        if (sent < 0) return;   /* full or not connected yet: epoll tells; broken: reading tells */
        line->sent += (size_t)sent;
    }
}

static void ask(double due) {
    struct line *line;
    if (many_free) {
        line = &lines[queue[first_free]];
        first_free = (first_free + 1) % MAX_LINES;
        many_free--;
    } else if (used < most) {
        line = &lines[used++];
        line->answer = malloc(MAX_ANSWER + 1);
        line->fd = -1;
    } else { unsent++; return; }
    if (count == room) {
        room = room ? room * 2 : 1 << 16;
        records = realloc(records, (size_t)room * sizeof *records);
    }
    if (line->fd < 0) open_line(line);
    line->busy = 1;
    line->sent = line->got = 0;
    line->record = count;
    under_way++;
    records[count++] = (struct record){due, now(), 0, 0};
    push(line);
}

static void finish(struct line *line, int status) {
    records[line->record].answered = now();
    records[line->record].status = status;
    line->busy = 0;
    under_way--;
    queue[(first_free + many_free++) % MAX_LINES] = (int)(line - lines);
    if (closed_loop) ask(now());
}

static int whole(struct line *line) {
    char *end, *length, *closes;
    line->answer[line->got] = 0;
    if (!(end = strstr(line->answer, "\r\n\r\n"))) return 0;
    line->closes = (closes = strcasestr(line->answer, "\r\nconnection: close")) && closes < end + 1;
    if ((length = strcasestr(line->answer, "\r\ncontent-length:")) && length < end)
        return line->got >= (size_t)(end + 4 - line->answer) + strtoul(length + 17, NULL, 10);
    return !memcmp(line->answer + line->got - 5, "0\r\n\r\n", 5);
}

static void hear(struct line *line) {
    for (;;) {
        static char nothing[4096];
        ssize_t got = line->busy ? recv(line->fd, line->answer + line->got, MAX_ANSWER - line->got, 0)
                                 : recv(line->fd, nothing, sizeof nothing, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN)) return;
        if (got <= 0) {
            close(line->fd);
            line->fd = -1;
            if (line->busy) finish(line, 0);
            return;
        }
        if (!line->busy) continue;
        line->got += (size_t)got;
        if (line->got == MAX_ANSWER) { errno = EMSGSIZE; fail("an answer of 64 KiB"); }
        if (!whole(line)) continue;
        if (line->closes) {
            close(line->fd);
            line->fd = -1;
        }
        finish(line, atoi(line->answer + 9));
        if (line->fd < 0) return;
    }
}

static void turn(double until) {   /* hear what comes, no longer than until then */
    struct epoll_event seen[256];
    double left = until - now();
    if (left < 0) left = 0;
    struct timespec wait = {(time_t)left, (long)((left - floor(left)) * 1e9)};
    int ready = epoll_pwait2(poller, seen, 256, &wait, NULL);
    for (int at = 0; at < ready; at++) {
        struct line *line = seen[at].data.ptr;
        if (seen[at].events & EPOLLOUT) push(line);
        if (line->fd >= 0 && seen[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) hear(line);
    }
}

static void obey(const char *order) {
    double value = 0, ms = 0;
    double began = now(), busy_before = busy();
    long sent_before = count;
    unsent = 0;
    if (sscanf(order, "rest %lf", &ms) == 1) {
        while (now() < began + ms / 1e3) turn(began + ms / 1e3);
    } else if (sscanf(order, "closed %lf %lf", &value, &ms) == 2) {
        closed_loop = 1;
        for (int at = 0; at < (int)value; at++) ask(now());
        while (now() < began + ms / 1e3) turn(began + ms / 1e3);
        closed_loop = 0;
    } else if (sscanf(order, "open %lf %lf", &value, &ms) == 2) {
        double end = began + ms / 1e3;
        for (double due = began + pause_at(value); due < end;) {
            for (; due <= now() && due < end; due += pause_at(value)) ask(due);
            turn(due < end ? due : end);
        }
    } else { errno = EINVAL; fail(order); }
    printf("%.9f %.9f %ld %ld %.6f\n", began, now(), count - sent_before, unsent, busy() - busy_before);
    fflush(stdout);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    request_bytes = (size_t)ftell(file);
    rewind(file);
    request = malloc(request_bytes);
    if (fread(request, 1, request_bytes, file) != request_bytes) fail(path);
    fclose(file);
}

int main(int argc, char **argv) {
    char order[256];
    if (argc != 5) return fprintf(stderr, "usage: open_load PORT CONNECTIONS REQUEST RECORDS\n"), 2;
    most = atoi(argv[2]);
    if (most < 1 || most > MAX_LINES) return fprintf(stderr, "open_load: 1 to %d connections\n", MAX_LINES), 2;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    read_request(argv[3]);
    poller = epoll_create1(0);
    while (fgets(order, sizeof order, stdin)) obey(order);
    for (double end = now() + PATIENCE_S; under_way && now() < end;) turn(now() + 0.1);
    FILE *file = fopen(argv[4], "wb");
    if (!file || fwrite(records, sizeof *records, (size_t)count, file) != (size_t)count || fclose(file)) fail(argv[4]);
    return 0;
}
