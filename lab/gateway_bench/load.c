/* A closed-loop load: N kept connections, each sends its next request when its answer has come whole.

   load PORT CONNECTIONS REQUESTS MILLISECONDS MARKS DONE FILE

   FILE holds one HTTP request; ten zeros in it are replaced by the request's number, so that no two are alike.
   It stops sending after so many requests or milliseconds, waits for what is under way (30 s at most), and
   prints one line of JSON. An answer counts when its status is 200, its body is whole, and the marks @@000;
   @@001; ... stand in it, MARKS of them, in order (and `data: [DONE]` where DONE is 1). Latencies run from
   before the first byte is sent until the last is read; percentiles are of all answers that count. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_HEAD = 32768, MAX_LINES = 4096, GRACE_MS = 30000 };
enum part { HEAD, FIXED, UNTIL_CLOSE, SIZE, SIZE_EOL, DATA, DATA_EOL, TRAILER };

struct line {
    int fd, busy, status, closes, marks, misplaced, done, mark_at, done_at, number, trailer;
    enum part part;
    size_t head_bytes, left, sent, body;
    uint64_t began, first;
    char *request, head[MAX_HEAD];
};

static struct sockaddr_in address;
static struct line lines[MAX_LINES];
static int poller, wanted_marks, wants_done, under_way;
static char *request;
static size_t request_bytes, number_at;
static long issued, most, answered, not_200, short_bodies, broken, reconnects;
static uint64_t *took, *firsts, stop_at, room, body_bytes;

static uint64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void fail(const char *why) {
    fprintf(stderr, "load: %s: %s\n", why, strerror(errno));
    exit(1);
}

static void open_line(struct line *line) {
    int on = 1;
    line->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(line->fd, (struct sockaddr *)&address, sizeof address)) fail("cannot connect");
    fcntl(line->fd, F_SETFL, O_NONBLOCK);
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = line};
    epoll_ctl(poller, EPOLL_CTL_ADD, line->fd, &wanted);
}

static void reopen(struct line *line) {
    reconnects++;
    close(line->fd);
    open_line(line);
}

/* ---- asking ---- */

static void push(struct line *line) {
    while (line->busy && line->sent < request_bytes) {
        ssize_t sent = send(line->fd, line->request + line->sent, request_bytes - line->sent, MSG_NOSIGNAL);
        if (sent < 0) return;   /* full: epoll tells; broken: reading tells */
        line->sent += (size_t)sent;
    }
}

static void ask(struct line *line) {
    char number[24];
    if (issued >= most || now() >= stop_at) return;
    memset(&line->busy, 0, offsetof(struct line, began) - offsetof(struct line, busy));
    snprintf(number, sizeof number, "%010ld", ++issued);
    memcpy(line->request + number_at, number, 10);
    line->busy = 1;
    under_way++;
    line->first = 0;
    line->began = now();
    push(line);
}

/* ---- reading ---- */

static void look(struct line *line, const char *text, size_t length) {   /* for marks, across pieces */
    static const char done[] = "data: [DONE]";
    line->body += length;
    for (size_t at = 0; at < length; at++) {
        char c = text[at];
        if (line->mark_at < 2) line->mark_at = c == '@' ? line->mark_at + 1 : 0;
        else if (c >= '0' && c <= '9') line->number = (line->mark_at++ == 2 ? 0 : line->number * 10) + c - '0';
        else {
            if (c == ';' && line->mark_at == 5) {
                if (!line->first) line->first = now();
                line->misplaced += line->number != line->marks++;
            }
            line->mark_at = 0;
        }
        line->done_at = c == done[line->done_at] ? line->done_at + 1 : c == 'd';
        if (line->done_at == sizeof done - 1) { line->done = 1; line->done_at = 0; }
    }
}

static const char *header(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *at = strchr(head, '\n'); at; at = strchr(at, '\n'))
        if (!strncasecmp(++at, name, length)) {
            for (at += length; *at == ' '; at++);
            return at;
        }
    return NULL;
}

static int begin_body(struct line *line) {   /* 1: there is none */
    const char *value;
    line->head[line->head_bytes] = 0;
    line->status = atoi(line->head + 9);
    value = header(line->head, "connection:");
    line->closes = value && !strncasecmp(value, "close", 5);
    if ((value = header(line->head, "transfer-encoding:")) && !strncasecmp(value, "chunked", 7)) line->part = SIZE;
    else if ((value = header(line->head, "content-length:"))) {
        line->part = FIXED;
        line->left = strtoul(value, NULL, 10);
        return !line->left;
    } else line->part = UNTIL_CLOSE;
    line->left = 0;
    return 0;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static int digit(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

static int read_piece(struct line *line, const char *text, size_t length) {   /* 1: the answer is whole */
    for (size_t at = 0; at < length;) {
        size_t many;
        switch (line->part) {
        case HEAD:
            if (line->head_bytes == MAX_HEAD - 1) fail("a head of more than 32 KiB");
            line->head[line->head_bytes++] = text[at++];
            if (line->head_bytes > 3 && !memcmp(line->head + line->head_bytes - 4, "\r\n\r\n", 4) && begin_body(line))
                return 1;
            break;
        case FIXED:
        case DATA:
            many = least(line->left, length - at);
            look(line, text + at, many);
            at += many;
            line->left -= many;
            if (line->left) break;
            if (line->part == FIXED) return 1;
            line->part = DATA_EOL;
            break;
        case UNTIL_CLOSE:
            look(line, text + at, length - at);
            return 0;
        case SIZE:
            if (text[at] == '\r' || text[at] == ';') line->part = SIZE_EOL;
            else line->left = line->left * 16 + (size_t)digit(text[at]);
            at++;
            break;
        case SIZE_EOL:
            if (text[at++] == '\n') line->part = line->left ? DATA : TRAILER;
            break;
        case DATA_EOL:
            if (text[at++] == '\n') line->part = SIZE;
            break;
        case TRAILER:   /* fields, then an empty line */
            if (text[at] == '\n') { if (!line->trailer) return 1; line->trailer = 0; }
            else if (text[at] != '\r') line->trailer = 1;
            at++;
        }
    }
    return 0;
}

static void finish(struct line *line, int whole) {
    uint64_t ended = now();
    line->busy = 0;
    under_way--;
    if (!whole) broken++;
    else if (line->status != 200) not_200++;
    else if (line->marks != wanted_marks || line->misplaced || (wants_done && !line->done)) short_bodies++;
    else {
        if ((uint64_t)answered == room) {
            room = room ? room * 2 : 4096;
            took = realloc(took, room * sizeof *took);
            firsts = realloc(firsts, room * sizeof *firsts);
        }
        took[answered] = ended - line->began;
        firsts[answered++] = line->first - line->began;
        body_bytes += line->body;
    }
}

static void hear(struct line *line) {
    static char piece[65536];
    for (;;) {
        ssize_t got = recv(line->fd, piece, sizeof piece, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            if (line->busy) finish(line, line->part == UNTIL_CLOSE && got == 0);
            reopen(line);
            ask(line);
            return;
        }
        if (!line->busy || !read_piece(line, piece, (size_t)got)) continue;
        finish(line, 1);
        if (line->closes) { reopen(line); ask(line); return; }
        ask(line);
    }
}

/* ---- telling ---- */

static int compare(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static double at_share(const uint64_t *sorted, double share) {   /* microseconds */
    long at = (long)((double)answered * share);
    if (!answered) return 0;
    return (double)sorted[at < answered ? at : answered - 1] / 1e3;
}

static void tell(uint64_t began) {
    double seconds = (double)(now() - began) / 1e9;
    if (answered) {
        qsort(took, (size_t)answered, sizeof *took, compare);
        qsort(firsts, (size_t)answered, sizeof *firsts, compare);
    }
    printf("{\"answered\": %ld, \"not_200\": %ld, \"short\": %ld, \"broken\": %ld, \"unanswered\": %d, "
           "\"reconnects\": %ld, \"body_bytes\": %llu, \"seconds\": %.6f, ",
           answered, not_200, short_bodies, broken, under_way, reconnects,
           answered ? (unsigned long long)(body_bytes / (uint64_t)answered) : 0, seconds);
    printf("\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"first_p50_us\": %.1f}\n",
           at_share(took, 0.5), at_share(took, 0.9), at_share(took, 0.99), at_share(took, 1), at_share(firsts, 0.5));
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    request_bytes = (size_t)ftell(file);
    rewind(file);
    request = malloc(request_bytes);
    if (fread(request, 1, request_bytes, file) != request_bytes) fail(path);
    char *zeros = memmem(request, request_bytes, "0000000000", 10);
    if (!zeros) { errno = EINVAL; fail("no ten zeros in the request"); }
    number_at = (size_t)(zeros - request);
}

int main(int argc, char **argv) {
    if (argc != 8) return fprintf(stderr, "usage: load PORT CONNECTIONS REQUESTS MS MARKS DONE FILE\n"), 2;
    int count = atoi(argv[2]);
    if (count < 1 || count > MAX_LINES) return fprintf(stderr, "load: 1 to 4096 connections\n"), 2;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    most = atol(argv[3]);
    wanted_marks = atoi(argv[5]);
    wants_done = atoi(argv[6]);
    read_request(argv[7]);
    poller = epoll_create1(0);
    for (int at = 0; at < count; at++) {
        lines[at].request = malloc(request_bytes);
        memcpy(lines[at].request, request, request_bytes);
        open_line(&lines[at]);
    }
    uint64_t began = now();
    stop_at = began + strtoull(argv[4], NULL, 10) * 1000000u;
    for (int at = 0; at < count; at++) ask(&lines[at]);
    while (under_way && now() < stop_at + GRACE_MS * 1000000ull && not_200 + short_bodies + broken < 200) {
        struct epoll_event seen[256];
        int ready = epoll_wait(poller, seen, 256, 100);
        for (int at = 0; at < ready; at++) {
            struct line *line = seen[at].data.ptr;
            if (seen[at].events & EPOLLOUT) push(line);
            if (seen[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) hear(line);
        }
    }
    tell(began);
    return 0;
}
