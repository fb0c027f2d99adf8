/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-wan: an Ethernet switch between memif ports whose links are as long and as bad as one likes. This
 * file is the shell: options, files, sockets, EAL and the loop. docs/helio-wan.md is its manual.
 */
#include "drivers/clock/clock.h"
#include "drivers/net/eal.h"
#include "drivers/net/port_set.h"
#include "tools/wan/command.h"
#include "tools/wan/console.h"
#include "tools/wan/show.h"
#include "tools/wan/steer.h"
#include "tools/wan/switch.h"
#include "tools/wan/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_MB_NORMAL     128
#define MEMORY_SHARE         85   /* percent of --mem for packets; the rest is EAL's */
#define PACKETS_RECEIVE      2048 /* of these, kept out of the lines: for receiving and flooding */
#define SHELL_EVERY_NS       HG_NS_PER_MS
#define BUSY_NS              HG_NS_PER_MS        /* no sleep for so long after a frame */
#define SLEEP_NS             (50 * HG_NS_PER_US) /* then naps of this length, or a 32nd of the pause */
#define SLEEP_NS_MAX         HG_NS_PER_MS
#define SLEEP_PAUSE_SHIFT    5
#define SLEEP_NS_MIN         (5 * HG_NS_PER_US) /* shorter ones cost more than they save */
#define FRAME_OVER_MTU_BYTES 18
#define TAP_MTU_BYTES        1500 /* net_tap takes frames of 1522 bytes at most */
#define ERROR_BYTES          512

struct options {
    const char *run_dir;
    const char *config;
    const char *command;
    int cpu; /* -1 = the last one this process may use */
    uint32_t memory_mb;
    uint64_t nap_ns; /* 0 = it polls while frames come */
    bool check;
    bool dry_run;
    bool json;
    bool seeded;
    uint64_t seed;
};

struct wan {
    const struct options *options;
    struct hg_wan_declared declared; /* sockets as absolute paths */
    struct hg_wan_switch sw;
    struct hg_wan_slot *slots;
    struct hg_port_pool *pool;
    struct hg_port_set sets[HG_WAN_PORTS_MAX];
    struct hg_wan_steer steers[HG_WAN_PORTS_MAX]; /* of ports with several queues */
    struct hg_port *ports[HG_WAN_PORTS_MAX];      /* what the switch has */
    uint64_t maintain_at_ns[HG_WAN_PORTS_MAX];
    struct hg_wan_console console;
    uint32_t frame_bytes_max;
    bool quit;
};

/* The commands of the file, parsed and checked before anything is started. */
struct config {
    struct hg_wan_command *commands;
    uint32_t *lines;
    uint32_t count;
};

static volatile sig_atomic_t stop_signal;
static struct wan wan;

static void on_signal(int number)
{
    stop_signal = number;
}

static uint64_t clock_now_ns(void)
{
    struct hg_clock *clock = hg_clock_tsc();
    return clock->now_ns(clock);
}

/* --- the file --- */

static void config_error(const char *path, uint32_t line, const struct hg_wan_error *error, bool json)
{
    if (!json) {
        fprintf(stderr, "%s:%u:%u: %s\n", path, line, error->column != 0 ? error->column : 1, error->text);
        return;
    }
    char place[PATH_MAX + 320];
    snprintf(place, sizeof(place), "%s:%u:%u: %s", path, line, error->column != 0 ? error->column : 1,
             error->text);
    char *answer = hg_wan_show_error(place, error->column, true);
    fputs(answer, stdout);
    free(answer);
}

static void config_add(struct config *config, const struct hg_wan_command *command, uint32_t line)
{
    size_t count = (size_t)config->count + 1;
    config->commands = realloc(config->commands, count * sizeof(*config->commands));
    config->lines = realloc(config->lines, count * sizeof(*config->lines));
    hg_assert(config->commands != NULL && config->lines != NULL);
    config->commands[config->count] = *command;
    config->lines[config->count] = line;
    config->count++;
}

/* Reads all of it and prints every error, so that one run shows them all. Returns how many there were. */
static uint32_t config_read(const char *path, bool json, struct config *config)
{
    char text[HG_WAN_LINE_BYTES_MAX];
    static struct hg_wan_declared declared;
    uint32_t errors = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        struct hg_wan_error error = {0};
        snprintf(error.text, sizeof(error.text), "can't be read: %s", strerror(errno));
        config_error(path, 1, &error, json);
        return 1;
    }
    for (uint32_t line = 1; fgets(text, sizeof(text), file) != NULL; line++) {
        struct hg_wan_command command;
        struct hg_wan_error error = {0};
        int rc = 0;
        if (strchr(text, '\n') == NULL && strlen(text) == sizeof(text) - 1) {
            snprintf(error.text, sizeof(error.text), "expected a line of at most %zu bytes",
                     sizeof(text) - 2);
            config_error(path, line, &error, json);
            errors++;
            break;
        }
        rc = hg_wan_command_parse(text, &command, &error);
        if (rc == 0)
            rc = hg_wan_command_check(&declared, &command, &error);
        if (rc != 0) {
            config_error(path, line, &error, json);
            errors++;
            continue;
        }
        if (command.verb == HG_WAN_VERB_PORT_ADD)
            hg_wan_declared_add(&declared, &command);
        if (command.verb != HG_WAN_VERB_NOTHING)
            config_add(config, &command, line);
    }
    if (ferror(file)) {
        struct hg_wan_error error = {0};
        snprintf(error.text, sizeof(error.text), "can't be read: %s", strerror(errno));
        config_error(path, 1, &error, json);
        errors++;
    }
    fclose(file);
    return errors;
}

/* --- ports --- */

/* A socket that a killed helio-wan left behind is removed; one that somebody answers on, or a file, is not
 * ours. */
static int socket_clear(const char *path, char *error, size_t error_bytes)
{
    struct stat status;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (lstat(path, &status) != 0)
        return 0;
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(error, error_bytes, "%s is no socket: move it away or choose another path", path);
        return -EEXIST;
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool alive =
        fd >= 0 && (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    if (alive) {
        snprintf(error, error_bytes, "another process listens on %s: stop it or choose another path", path);
        return -EADDRINUSE;
    }
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    snprintf(error, error_bytes, "can't remove the old socket %s: %s", path, strerror(errno));
    return -EACCES;
}

static bool socket_is_ours(const struct wan *w, const char *path)
{
    for (uint32_t i = 0; i < w->declared.count; i++) {
        if (strcmp(w->declared.ports[i].socket, path) == 0)
            return true;
    }
    return false;
}

static int socket_path(const struct wan *w, const char *given, char path[HG_WAN_SOCKET_BYTES_MAX],
                       char *error, size_t error_bytes)
{
    char joined[PATH_MAX];
    if (given[0] == '/')
        snprintf(joined, sizeof(joined), "%s", given);
    else
        snprintf(joined, sizeof(joined), "%s/%s", w->options->run_dir, given);
    if (strlen(joined) >= HG_WAN_SOCKET_BYTES_MAX) {
        snprintf(error, error_bytes, "the path %.200s is too long for a socket (107 bytes)", joined);
        return -ENAMETOOLONG;
    }
    memcpy(path, joined, strlen(joined) + 1);
    char *slash = strrchr(joined, '/');
    struct stat status;
    *slash = '\0';
    if (slash != joined && (stat(joined, &status) != 0 || !S_ISDIR(status.st_mode))) {
        snprintf(error, error_bytes, "socket %s: there is no directory %.200s; create it", path, joined);
        return -ENOENT;
    }
    return 0;
}

static int memif_devargs(struct wan *w, const struct hg_wan_command *command, char *devargs,
                         size_t devargs_bytes, char *error, size_t error_bytes)
{
    if (!socket_is_ours(w, command->socket)) {
        int rc = socket_clear(command->socket, error, error_bytes);
        if (rc != 0)
            return rc;
    }
    if (command->buffer_bytes > w->frame_bytes_max) {
        snprintf(error, error_bytes,
                 "port %s: bsize %u is more than the %u bytes that packet buffers were made with "
                 "at the start: put the port into the file",
                 command->name, command->buffer_bytes, w->frame_bytes_max);
        return -EINVAL;
    }
    snprintf(devargs, devargs_bytes,
             "net_memif%u,role=server,id=%u,socket=%s,socket-abstract=no,bsize=%u,rsize=%u",
             w->declared.count, command->memif_id, command->socket, command->buffer_bytes,
             command->ring_log2);
    return 0;
}

static int port_devargs(struct wan *w, struct hg_wan_command *command, char *devargs, size_t devargs_bytes,
                        char *error, size_t error_bytes)
{
    struct hg_wan_error check = {0};
    bool tap = command->kind == HG_WAN_PORT_TAP;
    int rc = 0;
    if (!tap) {
        char given[HG_WAN_SOCKET_BYTES_MAX];
        memcpy(given, command->socket, sizeof(given));
        rc = socket_path(w, given, command->socket, error, error_bytes);
    }
    if (rc != 0)
        return rc;
    rc = hg_wan_command_check(&w->declared, command, &check); /* again, with the absolute path */
    if (rc != 0) {
        snprintf(error, error_bytes, "%s", check.text);
        return rc;
    }
    if (!tap)
        return memif_devargs(w, command, devargs, devargs_bytes, error, error_bytes);
    snprintf(devargs, devargs_bytes, "net_tap%u,iface=%s", w->declared.count, command->iface);
    return hg_wan_tap_check(command->iface, error, error_bytes);
}

/* One port to the switch, however many queues. */
static struct hg_port *port_of_set(const struct hg_port_set *set, struct hg_wan_steer *steer)
{
    struct hg_port *queues[HG_WAN_QUEUES_MAX];
    for (uint32_t i = 0; i < set->queue_count; i++)
        queues[i] = hg_port_set_queue(set, i);
    if (set->queue_count == 1)
        return queues[0];
    hg_wan_steer_init(steer, queues, set->queue_count);
    return &steer->port;
}

static int port_add(struct wan *w, const struct hg_wan_command *given, char *error, size_t error_bytes)
{
    char devargs[256];
    struct hg_wan_command command = *given;
    int rc = port_devargs(w, &command, devargs, sizeof(devargs), error, error_bytes);
    if (rc != 0)
        return rc;
    uint32_t mtu_bytes =
        command.kind == HG_WAN_PORT_TAP ? TAP_MTU_BYTES : command.buffer_bytes - FRAME_OVER_MTU_BYTES;
    struct hg_port_dpdk_options options = {.name = command.name,
                                           .devargs = devargs,
                                           .mtu_bytes = (uint16_t)mtu_bytes,
                                           .numa_node = -1,
                                           .pool = w->pool};
    memcpy(options.mac, command.mac, sizeof(options.mac));
    struct hg_port_set *set = &w->sets[w->declared.count];
    if (hg_port_set_open(set, &options, command.queues, error, error_bytes) != 0)
        return -EIO;
    struct hg_port *port = port_of_set(set, &w->steers[w->declared.count]);
    int index = hg_wan_switch_port_add(&w->sw, command.name, command.mac, port);
    hg_assert(index == (int)w->declared.count); /* checked above */
    hg_wan_declared_add(&w->declared, &command);
    w->ports[index] = port;
    return 0;
}

/* --- commands --- */

static void link_join(struct wan *w, const struct hg_wan_command *command)
{
    const char *const names[] = {command->name, command->to, command->line[0], command->line[1]};
    int ports[4];
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        ports[i] = hg_wan_switch_find(&w->sw, names[i]);
        hg_assert(ports[i] >= 0);
    }
    hg_wan_switch_join(&w->sw, (uint32_t)ports[0], (uint32_t)ports[1], (uint32_t)ports[2],
                       (uint32_t)ports[3]);
}

static int command_apply(struct wan *w, const struct hg_wan_command *command, char *error, size_t error_bytes)
{
    int from = hg_wan_switch_find(&w->sw, command->name);
    int to = hg_wan_switch_find(&w->sw, command->to);
    switch (command->verb) {
    case HG_WAN_VERB_PORT_ADD:
        return port_add(w, command, error, error_bytes);
    case HG_WAN_VERB_LINK_SET:
        hg_assert(from >= 0 && to >= 0);
        hg_wan_switch_set(&w->sw, (uint32_t)from, (uint32_t)to, &command->impairment);
        return 0;
    case HG_WAN_VERB_LINK_JOIN:
        link_join(w, command);
        return 0;
    case HG_WAN_VERB_LINK_CUT:
        hg_assert(from >= 0 && to >= 0);
        hg_wan_switch_cut(&w->sw, (uint32_t)from, (uint32_t)to);
        return 0;
    case HG_WAN_VERB_LINK_RESTORE:
        hg_assert(from >= 0 && to >= 0);
        hg_wan_switch_restore(&w->sw, (uint32_t)from, (uint32_t)to);
        return 0;
    case HG_WAN_VERB_SEED:
        hg_wan_switch_seed(&w->sw, command->seed);
        return 0;
    case HG_WAN_VERB_QUIT:
        w->quit = true;
        return 0;
    default:
        return 0;
    }
}

static char *show_ports(struct wan *w, bool json)
{
    struct hg_wan_port_view views[HG_WAN_PORTS_MAX];
    for (uint32_t i = 0; i < w->sw.port_count; i++) {
        views[i].iface = w->declared.ports[i].kind == HG_WAN_PORT_TAP ? w->declared.ports[i].iface : NULL;
        views[i].socket = w->declared.ports[i].socket;
        views[i].memif_id = w->declared.ports[i].memif_id;
        views[i].link_up = w->ports[i]->link_up;
        views[i].problem = hg_port_set_problem(&w->sets[i]);
    }
    return hg_wan_show_ports(&w->sw, views, json);
}

static char *console_run(void *owner, const char *line, bool json)
{
    struct wan *w = owner;
    struct hg_wan_command command;
    struct hg_wan_error problem = {0};
    char error[ERROR_BYTES];
    bool dry_run = strncmp(line, "dry-run ", 8) == 0;
    if (dry_run)
        line += 8;
    if (hg_wan_command_parse(line, &command, &problem) != 0 ||
        hg_wan_command_check(&w->declared, &command, &problem) != 0)
        return hg_wan_show_error(problem.text, problem.column, json);
    if (command.verb == HG_WAN_VERB_SHOW_PORTS)
        return show_ports(w, json);
    if (command.verb == HG_WAN_VERB_SHOW_LINKS)
        return hg_wan_show_links(&w->sw, json);
    if (dry_run)
        return hg_wan_show_ok(json);
    if (command_apply(w, &command, error, sizeof(error)) != 0)
        return hg_wan_show_error(error, 0, json);
    return hg_wan_show_ok(json);
}

/* --- the loop --- */

static void shell_turn(struct wan *w, uint64_t now_ns)
{
    for (uint32_t i = 0; i < w->sw.port_count; i++) {
        if (now_ns < w->maintain_at_ns[i])
            continue;
        w->maintain_at_ns[i] = hg_port_set_maintain(&w->sets[i], now_ns);
        if (w->sets[i].queue_count > 1)
            hg_wan_steer_maintain(&w->steers[i]);
    }
    hg_wan_console_serve(&w->console);
}

static uint32_t receive_all(struct wan *w)
{
    struct hg_packet packets[HG_PORT_BURST_MAX];
    uint32_t total = 0;
    for (uint32_t i = 0; i < w->sw.port_count; i++) {
        if (!w->ports[i]->link_up)
            continue;
        uint32_t n = w->ports[i]->receive(w->ports[i], packets, HG_PORT_BURST_MAX);
        /* Read after receiving: were this thread put aside in between, an older time would shorten the delay.
         */
        if (n != 0)
            hg_wan_switch_receive(&w->sw, i, packets, n, clock_now_ns());
        total += n;
    }
    return total;
}

/* Sleeps while nothing is due, shorter the shorter it is since the last frame. A command wakes it. With --nap
 * it polls never, and what is due in a nap is that much late. */
static void idle(struct wan *w, uint64_t now_ns, uint64_t last_ns)
{
    struct pollfd polls[HG_WAN_POLLS_MAX];
    if (now_ns - last_ns < BUSY_NS) {
        struct timespec nap = {.tv_nsec = (long)w->options->nap_ns};
        if (nap.tv_nsec != 0)
            nanosleep(&nap, NULL);
        return;
    }
    uint64_t sleep_ns =
        hg_max_u64(SLEEP_NS, hg_min_u64(SLEEP_NS_MAX, (now_ns - last_ns) >> SLEEP_PAUSE_SHIFT));
    uint64_t due_ns = hg_wan_switch_due_ns(&w->sw, now_ns);
    if (due_ns != HG_TIME_NEVER)
        sleep_ns = hg_min_u64(sleep_ns, due_ns > now_ns ? due_ns - now_ns : 0);
    if (sleep_ns < SLEEP_NS_MIN)
        return;
    struct timespec wait = {.tv_nsec = (long)sleep_ns};
    ppoll(polls, hg_wan_console_polls(&w->console, polls), &wait, NULL);
}

static void loop(struct wan *w)
{
    uint64_t shell_at_ns = 0;
    uint64_t last_ns = clock_now_ns();
    while (!w->quit && stop_signal == 0) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= shell_at_ns) {
            shell_turn(w, now_ns);
            shell_at_ns = now_ns + SHELL_EVERY_NS;
        }
        uint32_t work = receive_all(w);
        work += hg_wan_switch_deliver(&w->sw, work != 0 ? clock_now_ns() : now_ns);
        if (work != 0) {
            last_ns = now_ns;
            w->sw.busy_ns += clock_now_ns() - now_ns;
        } else {
            idle(w, now_ns, last_ns);
        }
    }
    hg_wan_console_serve(&w->console); /* the answer to quit */
}

/* --- start and stop --- */

static int lock_take(const char *run_dir, char *error, size_t error_bytes)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/wan.lock", run_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(error, error_bytes, "can't open %s: %s; does the directory exist and belong to you?", path,
                 strerror(errno));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        snprintf(error, error_bytes,
                 "another helio-wan runs in %s (it holds %s): stop it with "
                 "helio-wan --run %s --command quit",
                 run_dir, path, run_dir);
        close(fd);
        return -1;
    }
    return fd;
}

static int cpu_last(void)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    hg_assert(sched_getaffinity(0, sizeof(cpus), &cpus) == 0);
    int cpu = CPU_SETSIZE - 1;
    while (cpu > 0 && !CPU_ISSET(cpu, &cpus))
        cpu--;
    return cpu;
}

static int eal_start(const struct options *options, char *error, size_t error_bytes)
{
    char lcores[16];
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    hg_assert(sched_getaffinity(0, sizeof(cpus), &cpus) == 0);
    if (options->cpu >= 0 && !CPU_ISSET(options->cpu, &cpus)) {
        snprintf(error, error_bytes, "--lcore %d: give a CPU that this process may run on", options->cpu);
        return -EINVAL;
    }
    snprintf(lcores, sizeof(lcores), "0@%d", options->cpu >= 0 ? options->cpu : cpu_last());
    struct hg_eal_options eal = {.program = "helio-wan",
                                 .lcores = lcores,
                                 .memory_mb = options->memory_mb,
                                 .file_prefix = "helio-wan",
                                 .run_dir = options->run_dir,
                                 .pages = HG_EAL_PAGES_AUTO};
    return hg_eal_start(&eal, error, error_bytes);
}

static int memory_make(struct wan *w, const struct config *config, char *error, size_t error_bytes)
{
    w->frame_bytes_max = 2048;
    for (uint32_t i = 0; i < config->count; i++)
        w->frame_bytes_max = (uint32_t)hg_max_u64(w->frame_bytes_max, config->commands[i].buffer_bytes);
    uint64_t bytes = ((uint64_t)w->options->memory_mb << 20) / 100 * MEMORY_SHARE;
    uint64_t packets = bytes / hg_port_pool_packet_bytes(w->frame_bytes_max);
    if (packets < 2 * PACKETS_RECEIVE) {
        snprintf(error, error_bytes, "%u MB of memory hold only %llu packets of %u bytes: give more (--mem)",
                 w->options->memory_mb, (unsigned long long)packets, w->frame_bytes_max);
        return -ENOMEM;
    }
    w->pool = hg_port_pool_create("wan", (uint32_t)packets, w->frame_bytes_max, -1, error, error_bytes);
    if (w->pool == NULL)
        return -ENOMEM;
    uint32_t slots = (uint32_t)packets - PACKETS_RECEIVE;
    w->slots = calloc(slots, sizeof(*w->slots));
    hg_assert(w->slots != NULL);
    hg_wan_switch_init(&w->sw, w->slots, slots, w->options->seed);
    return 0;
}

static int config_apply(struct wan *w, const struct config *config, char *error, size_t error_bytes)
{
    char reason[ERROR_BYTES];
    for (uint32_t i = 0; i < config->count; i++) {
        const struct hg_wan_command *command = &config->commands[i];
        char *text = NULL;
        if (command->verb == HG_WAN_VERB_SEED && w->options->seeded)
            continue; /* the option is stronger */
        if (command->verb == HG_WAN_VERB_SHOW_PORTS)
            text = show_ports(w, w->options->json);
        if (command->verb == HG_WAN_VERB_SHOW_LINKS)
            text = hg_wan_show_links(&w->sw, w->options->json);
        if (text != NULL)
            fputs(text, stdout);
        free(text);
        if (command_apply(w, command, reason, sizeof(reason)) == 0)
            continue;
        snprintf(error, error_bytes, "%s:%u: %s", w->options->config, config->lines[i], reason);
        return -EINVAL;
    }
    return 0;
}

static void stop(struct wan *w)
{
    hg_wan_switch_drain(&w->sw);
    for (uint32_t i = 0; i < w->sw.port_count; i++)
        hg_port_set_close(&w->sets[i]);
    for (uint32_t i = 0; i < w->declared.count; i++) {
        if (w->declared.ports[i].kind == HG_WAN_PORT_MEMIF)
            unlink(w->declared.ports[i].socket);
    }
    hg_wan_console_close(&w->console);
    hg_port_pool_destroy(w->pool);
    free(w->slots);
}

static int serve(const struct options *options, const struct config *config)
{
    char error[ERROR_BYTES + PATH_MAX];
    char path[PATH_MAX];
    struct sigaction action = {.sa_handler = on_signal};
    wan.options = options;
    wan.console.fd = -1;
    int lock = lock_take(options->run_dir, error, sizeof(error));
    int rc = lock < 0 ? -1 : 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (rc == 0)
        rc = eal_start(options, error, sizeof(error));
    if (rc == 0)
        rc = memory_make(&wan, config, error, sizeof(error));
    if (rc == 0)
        rc = config_apply(&wan, config, error, sizeof(error));
    snprintf(path, sizeof(path), "%s/wan.sock", options->run_dir);
    if (rc == 0)
        rc = hg_wan_console_open(&wan.console, path, console_run, &wan, error, sizeof(error));
    if (rc != 0) {
        fprintf(stderr, "helio-wan: %s\n", error);
        return 1; /* the sockets of this attempt are unlinked by the next one, under the lock */
    }
    printf("helio-wan: %u ports, commands on %s\n", wan.sw.port_count, path);
    fflush(stdout);
    loop(&wan);
    stop(&wan);
    return 0;
}

/* --- options --- */

static void usage(FILE *out)
{
    fputs("usage: helio-wan --run DIR --config FILE [--lcore CPU] [--mem MB] [--nap US] [--seed N] [--json]\n"
          "       helio-wan --config FILE --check [--json]\n"
          "       helio-wan --run DIR --command 'COMMAND' [--dry-run] [--json]\n"
          "\n"
          "  --run DIR       directory of its sockets, lock and log\n"
          "  --config FILE   commands, one a line (docs/helio-wan.md)\n"
          "  --lcore CPU     the CPU to run on; the last one unless told\n"
          "  --mem MB        memory, most of it for frames under way; 128 unless told\n"
          "  --nap US        sleep so long when no frame is there or due, do not poll: others use the CPU, "
          "too\n"
          "  --seed N        of all random numbers; wins over `seed` in the file\n"
          "  --check         only check the file\n"
          "  --command C     send one command to the helio-wan that runs in DIR\n"
          "  --dry-run       with --command: check it against what runs, and do nothing\n"
          "  --json          answers in JSON\n"
          "\n"
          "Exit: 0 done, 1 refused, 2 usage.\n"
          "\n"
          "Commands:\n"
          "  port add NAME memif socket PATH id N mac MAC [bsize 2048] [rsize 10]\n"
          "  port add NAME tap iface IFACE mac MAC        kernel TCP over the same link; needs root\n"
          "  link set FROM TO [delay D] [jitter D] [loss P%] [burst N] [rate R] [queue Q]\n"
          "      [ecn Q|D] [reorder P% late D] [duplicate P%] [corrupt P% [header]]\n"
          "      [paths N skew D [spread packet|flow]] [mtu N [icmp]]\n"
          "  link join FROM TO A B                        takes the line from A to B, with its queue\n"
          "  link cut FROM TO    link restore FROM TO    show ports    show links    seed N    quit\n"
          "\n"
          "Examples:\n"
          "  sed 's#@RUN@#/run/wan#g' configs/wan.conf > /run/wan/wan.conf\n"
          "  helio-wan --run /run/wan --config /run/wan/wan.conf\n"
          "  helio-wan --run /run/wan --command 'link set a b delay 40ms loss 0.1% reorder 1% late 5ms'\n"
          "  helio-wan --run /run/wan --command 'link cut a b'\n"
          "  helio-wan --run /run/wan --command 'show links' --json\n",
          out);
}

static bool option_number(const char *name, const char *text, uint64_t low, uint64_t high, uint64_t *value)
{
    char *end = NULL;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && parsed >= low && parsed <= high) {
        *value = parsed;
        return true;
    }
    fprintf(stderr, "helio-wan: --%s expects a number from %llu to %llu, found '%s'\n", name,
            (unsigned long long)low, (unsigned long long)high, text);
    return false;
}

static bool option_take(int letter, struct options *options)
{
    uint64_t value = 0;
    bool good = true;
    switch (letter) {
    case 'r':
        options->run_dir = optarg;
        break;
    case 'f':
        options->config = optarg;
        break;
    case 'c':
        options->command = optarg;
        break;
    case 'l':
        good = option_number("lcore", optarg, 0, CPU_SETSIZE - 1, &value);
        options->cpu = (int)value;
        break;
    case 'm':
        good = option_number("mem", optarg, 32, 1 << 20, &value);
        options->memory_mb = (uint32_t)value;
        break;
    case 'n':
        good = option_number("nap", optarg, 1, 1000, &value);
        options->nap_ns = value * HG_NS_PER_US;
        break;
    case 's':
        good = option_number("seed", optarg, 0, INT64_MAX, &options->seed);
        options->seeded = true;
        break;
    case 'k':
        options->check = true;
        break;
    case 'd':
        options->dry_run = true;
        break;
    case 'j':
        options->json = true;
        break;
    default:
        usage(stderr);
        good = false;
    }
    return good;
}

/* False after naming what is missing or too much. */
static bool options_complete(const struct options *options, const char *extra)
{
    if (extra != NULL)
        fprintf(stderr, "helio-wan: I don't know '%s'\n\n", extra);
    else if (options->command == NULL && options->config == NULL)
        fprintf(stderr, "helio-wan: --config FILE (or --command) is missing\n\n");
    else if (!options->check && (options->run_dir == NULL || options->run_dir[0] == '\0'))
        fprintf(stderr, "helio-wan: --run DIR is missing\n\n");
    else if (options->dry_run && options->command == NULL)
        fprintf(stderr, "helio-wan: --dry-run goes with --command; a file is checked by --check\n\n");
    else
        return true;
    return false;
}

static int command_send(const struct options *options)
{
    char line[HG_WAN_LINE_BYTES_MAX];
    if (snprintf(line, sizeof(line), "%s%s", options->dry_run ? "dry-run " : "", options->command) >=
        (int)sizeof(line)) {
        fprintf(stderr, "helio-wan: a command is one line of at most %zu bytes\n", sizeof(line) - 1);
        return 1;
    }
    char path[PATH_MAX];
    char error[ERROR_BYTES];
    snprintf(path, sizeof(path), "%s/wan.sock", options->run_dir);
    int rc = hg_wan_console_send(path, line, options->json, stdout, error, sizeof(error));
    if (rc < 0)
        fprintf(stderr, "helio-wan: %s\n", error);
    return rc == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"run", required_argument, NULL, 'r'},     {"config", required_argument, NULL, 'f'},
        {"command", required_argument, NULL, 'c'}, {"lcore", required_argument, NULL, 'l'},
        {"mem", required_argument, NULL, 'm'},     {"nap", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},    {"check", no_argument, NULL, 'k'},
        {"dry-run", no_argument, NULL, 'd'},       {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    struct options options = {.cpu = -1, .memory_mb = MEMORY_MB_NORMAL, .seed = 1};
    struct config config = {0};
    for (int letter = getopt_long(argc, argv, "", longs, NULL); letter != -1;
         letter = getopt_long(argc, argv, "", longs, NULL)) {
        if (letter == 'h') {
            usage(stdout);
            return 0;
        }
        if (!option_take(letter, &options))
            return 2;
    }
    if (!options_complete(&options, optind == argc ? NULL : argv[optind])) {
        usage(stderr);
        return 2;
    }
    if (options.command != NULL)
        return command_send(&options);
    if (config_read(options.config, options.json, &config) != 0)
        return 1;
    int rc = 0;
    if (options.check) {
        char *answer = hg_wan_show_ok(options.json);
        fputs(answer, stdout);
        free(answer);
    } else {
        rc = serve(&options, &config);
    }
    free(config.commands);
    free(config.lines);
    return rc;
}
