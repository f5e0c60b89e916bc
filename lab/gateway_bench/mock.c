/* An upstream that costs next to nothing: one thread, epoll, HTTP/1.1 with kept connections.

   mock PORT        listens on 127.0.0.1; says "ready" on stdout

   A GET gets a list of models. A POST whose body says "stream":true gets CHUNKS pieces of text as server-sent
   events of about 240 bytes (each written, and chunked, by itself), then the usage, then [DONE]; any other
   POST gets one chat completion of about 1,085 bytes. Every piece of text holds a mark @@NNN; so that the
   client can tell that all came, and in order. The prompt may hold
       @pause=US;   microseconds between two pieces of a stream (0: none); a stream starts anywhere within one
       @delay=US;   microseconds before a whole answer (0: none) */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { CHUNKS = 50, LAST = CHUNKS + 2, MAX_WAITING = 65536, IDLE = -1, WHOLE = -2 };

struct buffer { char *data; size_t length, room; };

struct line {
    int fd, next;             /* next: the piece to send, IDLE, or WHOLE for an answer that waits */
    struct buffer in, out;    /* out: what the socket did not take yet */
    uint64_t due, pause;      /* nanoseconds; due 0: waits for nothing */
    long waits;               /* its place in `waiting`, or -1 */
};

static int poller, timer;
static struct line *waiting[MAX_WAITING];
static long waiting_count;
static uint64_t armed;
static char *events[LAST], *whole, *models;
static size_t event_bytes[LAST], whole_bytes, models_bytes;

static uint64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void add(struct buffer *to, const char *data, size_t length) {
    if (to->length + length > to->room) {
        to->room = (to->length + length) * 2;
        to->data = realloc(to->data, to->room);
    }
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void drop(struct buffer *from, size_t length) {
    from->length -= length;
    memmove(from->data, from->data + length, from->length);
}

/* ---- what is said ---- */

static char *filler(size_t length) {
    static const char text[] = "the mock says the same words again and again so that the size is right ";
    char *made = malloc(length + 1);
    for (size_t at = 0; at < length; at++) made[at] = text[at % (sizeof text - 1)];
    made[length] = 0;
    return made;
}

static void make_event(int at, const char *json) {
    size_t length = strlen(json) + 8;   /* "data: " and the empty line */
    event_bytes[at] = (size_t)asprintf(&events[at], "%zx\r\ndata: %s\n\n\r\n%s", length, json,
                                       at == LAST - 1 ? "0\r\n\r\n" : "");
}

static void make_answers(void) {
    static const char head[] = "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":"
                               "1700000000,\"model\":\"mock\",\"choices\":[";
    static const char usage[] = "\"usage\":{\"prompt_tokens\":210,\"completion_tokens\":180,\"total_tokens\":390}";
    char *json, *text = filler(70);
    for (int at = 0; at < CHUNKS; at++) {
        const char *finish = at == CHUNKS - 1 ? "\"stop\"" : "null";
        if (asprintf(&json, "%s{\"index\":0,\"delta\":{%s\"content\":\"@@%03d;%s\"},\"finish_reason\":%s}]}", head,
                     at == 0 ? "\"role\":\"assistant\"," : "", at, text, finish) < 0) exit(1);
        make_event(at, json);
    }
    if (asprintf(&json, "%s],%s}", head, usage) < 0) exit(1);
    make_event(CHUNKS, json);
    make_event(CHUNKS + 1, "[DONE]");
    if (asprintf(&json, "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion\",\"created\":1700000000,"
                        "\"model\":\"mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                        "\"content\":\"%s@@000;\"},\"finish_reason\":\"stop\"}],%s}", filler(830), usage) < 0) exit(1);
    whole_bytes = (size_t)asprintf(&whole, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                           "content-length: %zu\r\n\r\n%s", strlen(json), json);
    const char *list = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"owned_by\":\"mock\"}]}";
    models_bytes = (size_t)asprintf(&models, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                             "content-length: %zu\r\n\r\n%s", strlen(list), list);
}

/* ---- saying it ---- */

static void hang_up(struct line *line) {
    if (line->waits >= 0) {
        waiting[line->waits] = waiting[--waiting_count];
        waiting[line->waits]->waits = line->waits;
    }
    close(line->fd);
    free(line->in.data);
    free(line->out.data);
    free(line);
}

static int flush(struct line *line) {   /* 0: the line is broken */
    while (line->out.length) {
        ssize_t sent = send(line->fd, line->out.data, line->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) return errno == EAGAIN;
        drop(&line->out, (size_t)sent);
    }
    return 1;
}

static int say(struct line *line, const char *data, size_t length) {
    add(&line->out, data, length);
    return flush(line);
}

static void arm(uint64_t due) {
    struct itimerspec at = {.it_value = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)}};
    armed = due;
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void wait_until(struct line *line, uint64_t due) {
    line->due = due;
    if (line->waits < 0) {
        if (waiting_count == MAX_WAITING) exit(2);
        line->waits = waiting_count;
        waiting[waiting_count++] = line;
    }
    if (!armed || due < armed) arm(due);
}

static int go_on(struct line *line) {   /* says what is due; 0: the line is broken */
    if (line->next == WHOLE) {
        line->next = IDLE;
        return say(line, whole, whole_bytes);
    }
    do {
        int at = line->next++;
        if (!say(line, events[at], event_bytes[at])) return 0;
    } while (line->next < LAST && (!line->pause || line->next >= CHUNKS));
    if (line->next >= LAST) line->next = IDLE;
    else wait_until(line, line->due + line->pause);
    return 1;
}

/* ---- hearing what is wanted ---- */

static uint64_t wish(const char *body, size_t length, const char *name) {   /* in nanoseconds */
    const char *found = memmem(body, length, name, strlen(name));
    return found ? strtoull(found + strlen(name), NULL, 10) * 1000u : 0;
}

static int answer(struct line *line, const char *body, size_t length) {
    static const char stream_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                                      "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    static uint64_t seed = 88172645463325252u;
    uint64_t delay = 0;
    if (memmem(body, length, "\"stream\":true", 13) || memmem(body, length, "\"stream\": true", 14)) {
        line->next = 0;
        line->pause = wish(body, length, "@pause=");
        seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
        if (line->pause) delay = seed % line->pause;
        if (!say(line, stream_head, sizeof stream_head - 1)) return 0;
    } else {
        line->next = WHOLE;
        delay = wish(body, length, "@delay=");
    }
    line->due = now() + delay;
    if (!delay) return go_on(line);
    wait_until(line, line->due);
    return 1;
}

static const char *header(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *at = head; at < end; at++) {
        if (!strncasecmp(at, name, length)) return at + length;
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at) break;
    }
    return NULL;
}

static ssize_t chunked_end(const char *body, size_t length) {   /* bytes of a whole chunked body, else -1 */
    size_t at = 0;
    for (;;) {
        const char *eol = memmem(body + at, length - at, "\r\n", 2);
        if (!eol) return -1;
        size_t size = strtoul(body + at, NULL, 16);
        at = (size_t)(eol - body) + 2 + size + 2;
        if (at > length) return -1;
        if (!size) return (ssize_t)at;
    }
}

static int serve(struct line *line) {   /* 0: the line is broken */
    while (line->next == IDLE && line->in.length) {
        char *head = line->in.data, *end = memmem(head, line->in.length, "\r\n\r\n", 4);
        if (!end) return 1;
        size_t head_bytes = (size_t)(end - head) + 4, rest = line->in.length - head_bytes;
        const char *length = header(head, end + 2, "content-length:");
        ssize_t body = length ? (ssize_t)strtoul(length, NULL, 10) : 0;
        if (header(head, end + 2, "transfer-encoding: chunked")) body = chunked_end(end + 4, rest);
        if (body < 0 || (size_t)body > rest) return 1;
        int alive = memcmp(head, "POST", 4) ? say(line, models, models_bytes) : answer(line, end + 4, (size_t)body);
        if (!alive) return 0;
        drop(&line->in, head_bytes + (size_t)body);
    }
    return 1;
}

static int hear(struct line *line) {   /* 0: the line is broken */
    static char piece[65536];
    for (;;) {   /* edge-triggered: until nothing is left */
        ssize_t got = recv(line->fd, piece, sizeof piece, MSG_DONTWAIT);
        if (!got) return 0;
        if (got < 0) return errno == EAGAIN && serve(line);
        add(&line->in, piece, (size_t)got);
    }
}

static void take(int listener) {
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct line *line = calloc(1, sizeof *line);
    line->fd = fd;
    line->next = IDLE;
    line->waits = -1;
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = line};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &wanted);
}

static void ring(void) {   /* whoever's time has come goes on */
    uint64_t expired, time = now(), soonest = 0;
    if (read(timer, &expired, sizeof expired) < 0) return;
    armed = UINT64_MAX;   /* nobody arms the timer below this loop's end */
    for (long at = waiting_count - 1; at >= 0; at--) {
        struct line *line = waiting[at];
        if (line->due > time) continue;
        if (!go_on(line)) { hang_up(line); continue; }
        if (line->next != IDLE) continue;
        waiting[at] = waiting[--waiting_count];
        waiting[at]->waits = at;
        line->waits = -1;
        if (!serve(line)) hang_up(line);
    }
    for (long at = 0; at < waiting_count; at++)
        if (!soonest || waiting[at]->due < soonest) soonest = waiting[at]->due;
    armed = 0;
    if (soonest) arm(soonest);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (argc != 2) return fprintf(stderr, "usage: mock PORT\n"), 2;
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        return perror("mock"), 1;
    prctl(PR_SET_TIMERSLACK, 1UL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    make_answers();
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &wanted);
    wanted.data.ptr = &timer;
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &wanted);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event seen[256];
        int count = epoll_wait(poller, seen, 256, -1), rings = 0;
        for (int at = 0; at < count; at++) {
            void *who = seen[at].data.ptr;
            struct line *line = who;
            if (who == &listener) take(listener);
            else if (who == &timer) rings = 1;
            else if (!hear(line) || !flush(line)) hang_up(line);
        }
        if (rings) ring();   /* last: a line that hangs up there may stand in `seen` too */
    }
}
