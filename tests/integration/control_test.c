/* SPDX-License-Identifier: Apache-2.0
 *
 * control_test CONTROLPLANE HELIOCTL: the real control plane and the real helioctl against a dataplane that
 * is only its side of the control ring. Applies, events, kill -9 of each side, attaching again, live changes,
 * refusals.
 */
#include "controlplane/metastore.h"
#include "drivers/clock/clock.h"
#include "drivers/ipc/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS  15000
#define RATE_REFUSED 8000  /* bytes/s: the dataplane of this test says no */
#define RATE_SILENT  16000 /* it never answers */
#define RATE_DAMAGE  24000 /* it damages the region */

static char run[64];
static const char *program_control, *program_ctl;
static int failures;
static uint32_t cells = HG_CONTROL_RING_CELLS;

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- a dataplane that is only its side of the ring ---- */
struct fake {
    struct hg_control_ring ring;
    int listener, connection;
    struct hg_control_config config;
    struct hg_control_status status;
};

static void fake_event(struct fake *fake, enum hg_control_severity severity, const char *name,
                       const char *text)
{
    struct hg_control_message message = {.type = HG_CONTROL_EVENT, .command = severity};

    snprintf(message.name, sizeof(message.name), "%s", name);
    snprintf(message.text, sizeof(message.text), "%s", text);
    if (hg_control_ring_send(&fake->ring, hg_control_ring_request(&fake->ring), &message) == 0)
        hg_control_ring_doorbell(&fake->ring);
}

static void fake_status(struct fake *fake)
{
    struct hg_control_status *status = &fake->status;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    status->realtime_ns = (uint64_t)now.tv_sec * HG_NS_PER_S + (uint64_t)now.tv_nsec;
    status->boot = fake->ring.boot;
    status->pid = (uint32_t)getpid();
    status->turns++;
    status->peer_count = fake->config.peer_count;
    for (uint32_t i = 0; i < status->peer_count; i++) {
        memcpy(status->peers[i].name, fake->config.peers[i].name, sizeof(status->peers[i].name));
        status->peers[i].state = HG_PEER_UP;
        status->peers[i].srtt_ns = 80200000;
        status->peers[i].rate_bytes_per_s = fake->config.peers[i].rate_bytes_per_s;
    }
    status->stream_count = fake->config.stream_count;
    for (uint32_t i = 0; i < status->stream_count; i++) {
        struct hg_status_stream *stream = &status->streams[i];

        memcpy(stream->name, fake->config.streams[i].name, sizeof(stream->name));
        stream->kind = fake->config.streams[i].kind;
        stream->lsn_durable = UINT64_C(0x16B374D48);
        stream->peer_count = fake->config.peer_count > 0 ? 1 : 0;
        stream->peers[0] =
            (struct hg_status_stream_peer){.state = 2, .lag_bytes = 1500000, .lag_ns = 81000000};
    }
    status->consumer_count = fake->config.consumer_count;
    for (uint32_t i = 0; i < status->consumer_count; i++) {
        memcpy(status->consumers[i].name, fake->config.consumers[i].name, sizeof(status->consumers[i].name));
        memcpy(status->consumers[i].stream, fake->config.consumers[i].stream,
               sizeof(status->consumers[i].stream));
    }
    status->group_count = fake->config.group_count;
    for (uint32_t i = 0; i < status->group_count; i++)
        status->groups[i] =
            (struct hg_status_group){.group = fake->config.groups[i].group,
                                     .members_generation = fake->config.groups[i].members.generation};
    status->drop_count = 2;
    snprintf(status->drops[0].where, sizeof(status->drops[0].where), "lane b");
    snprintf(status->drops[0].name, sizeof(status->drops[0].name), "drop_duplicate");
    status->drops[0].count = 17;
    snprintf(status->drops[1].name, sizeof(status->drops[1].name), "drop_never");
    hg_control_ring_status_write(&fake->ring, status);
    hg_control_ring_beat(&fake->ring);
}

static void fake_result(struct fake *fake, const struct hg_control_received *received, int code,
                        const char *text)
{
    struct hg_control_message message = {.type = HG_CONTROL_RESULT, .code = code};

    message.generation = received->message.generation;
    snprintf(message.text, sizeof(message.text), "%s", text);
    hg_control_ring_send(&fake->ring, received->request, &message);
    hg_control_ring_doorbell(&fake->ring);
}

static void fake_apply(struct fake *fake, const struct hg_control_received *received)
{
    static struct hg_control_config config;
    uint64_t generation = 0, rate;

    if (hg_control_ring_config_read(&fake->ring, &config, &generation) != 0 ||
        generation < received->message.generation)
        return;
    rate = config.peer_count == 0 ? 0 : config.peers[0].rate_bytes_per_s;
    if (rate == RATE_REFUSED) {
        fake_result(fake, received, -EINVAL, "peer b: too slow to be of use");
        return;
    }
    if (rate == RATE_SILENT)
        return;
    if (rate == RATE_DAMAGE) {
        ((uint8_t *)fake->ring.region)[0] ^= 1;
        return;
    }
    fake->config = config;
    fake->status.config_generation_applied = generation;
    fake_status(fake);
    fake_result(fake, received, 0, "");
}

static bool is_deaf(void)
{
    char path[96];

    snprintf(path, sizeof(path), "%s/deaf", run);
    return access(path, F_OK) == 0;
}

static void fake_receive(struct fake *fake)
{
    struct hg_control_received received;

    while (!is_deaf() && hg_control_ring_receive(&fake->ring, &received) == 1) {
        if (received.message.type == HG_CONTROL_APPLY)
            fake_apply(fake, &received);
        if (received.message.type == HG_CONTROL_COMMAND) {
            fake_result(fake, &received, 0, "");
            if (received.message.command == HG_COMMAND_STOP) {
                hg_control_ring_done(&fake->ring);
                exit(0);
            }
            if (received.message.command == HG_COMMAND_CONSUMER_REMOVE) {
                fake->config.consumer_count = 0;
                fake_status(fake);
            }
        }
        hg_control_ring_done(&fake->ring);
    }
}

static void fake_create(struct fake *fake)
{
    int rc = hg_control_ring_create(&fake->ring, cells, hg_clock_tsc()->random_u64(hg_clock_tsc()) | 1);

    hg_assert(rc == 0);
}

static void fake_accept(struct fake *fake)
{
    int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct pollfd hello = {.fd = fd, .events = POLLIN};

    if (fd < 0)
        return;
    poll(&hello, 1, 1000);
    if (hg_control_socket_peek(fd) != 1) {
        close(fd);
        return;
    }
    if (fake->connection < 0 && hg_control_ring_must_recreate(&fake->ring)) {
        hg_control_ring_close(&fake->ring);
        fake_create(fake);
    }
    if (hg_control_socket_answer(fd, fake->connection >= 0 ? NULL : &fake->ring, "another one is attached") !=
        0) {
        close(fd);
        return;
    }
    fake->connection = fd;
    fake_event(fake, HG_SEVERITY_INFO, "hello_from_dataplane", "with a control \x01 byte");
}

static void fake_run(void)
{
    static struct fake fake;
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/dataplane.sock", run);
    unlink(address.sun_path);
    fake.connection = -1;
    fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    hg_assert(bind(fake.listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
              listen(fake.listener, 8) == 0);
    fake_create(&fake);
    for (;;) {
        struct pollfd fds[3] = {{.fd = fake.listener, .events = POLLIN},
                                {.fd = hg_control_ring_doorbell_fd(&fake.ring), .events = POLLIN},
                                {.fd = fake.connection, .events = POLLIN}};

        poll(fds, 3, 20);
        if (fds[0].revents != 0)
            fake_accept(&fake);
        hg_control_ring_doorbell_clear(&fake.ring);
        fake_receive(&fake);
        fake_status(&fake);
        if (fake.connection >= 0 && fds[2].fd == fake.connection && fds[2].revents != 0) {
            close(fake.connection);
            fake.connection = -1;
        }
    }
}

/* ---- processes ---- */
static pid_t dataplane_start(void)
{
    pid_t pid = fork();

    hg_assert(pid >= 0);
    if (pid == 0)
        fake_run();
    return pid;
}

static pid_t control_start(void)
{
    char config[96], log[96];
    pid_t pid;

    snprintf(config, sizeof(config), "%s/node.conf", run);
    snprintf(log, sizeof(log), "%s/control.log", run);
    pid = fork();
    hg_assert(pid >= 0);
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd, 2);
        execl(program_control, program_control, "--run", run, "--config", config, NULL);
        _exit(127);
    }
    return pid;
}

static void end(pid_t pid, int signal, int expected_status)
{
    int status = 0;

    kill(pid, signal);
    waitpid(pid, &status, 0);
    if (signal != SIGKILL && (!WIFEXITED(status) || WEXITSTATUS(status) != expected_status)) {
        printf("FAILED: process ended with status 0x%x\n", status);
        failures++;
    }
}

static char output[1 << 20];

/* Runs helioctl with `words`; its exit code, both its outputs in `output`. */
static int ctl(const char *words)
{
    char command[1024];
    FILE *pipe;
    size_t bytes;
    int status;

    snprintf(command, sizeof(command), "%s --run %s %s 2>&1", program_ctl, run, words);
    pipe = popen(command, "r");
    hg_assert(pipe != NULL);
    bytes = fread(output, 1, sizeof(output) - 1, pipe);
    output[bytes] = '\0';
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(int line, const char *words, int code, const char *text)
{
    int got = ctl(words);

    if (got == code && (text == NULL || strstr(output, text) != NULL))
        return;
    failures++;
    printf("FAILED: line %d: helioctl %s: exit %d, expected %d and \"%s\" in:\n%s\n", line, words, got, code,
           text == NULL ? "" : text, output);
}
#define EXPECT(words, code, text) expect(__LINE__, words, code, text)

/* Until helioctl exits with `code` and says `text`. */
static void await(int line, const char *words, int code, const char *text)
{
    uint64_t deadline = now_ms() + PATIENCE_MS;

    while (now_ms() < deadline) {
        if (ctl(words) == code && strstr(output, text) != NULL)
            return;
        poll(NULL, 0, 20);
    }
    failures++;
    printf("FAILED: line %d: helioctl %s never gave exit %d and \"%s\"; last:\n%s\n", line, words, code, text,
           output);
}
#define AWAIT(words, code, text) await(__LINE__, words, code, text)

static void file_write(const char *name, const char *text, mode_t mode)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", run, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    hg_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static uint32_t log_count(const char *text)
{
    static char log[1 << 20];
    char path[96];
    uint32_t count = 0;
    ssize_t bytes;
    int fd;

    snprintf(path, sizeof(path), "%s/control.log", run);
    fd = open(path, O_RDONLY);
    bytes = fd < 0 ? 0 : read(fd, log, sizeof(log) - 1);
    log[bytes < 0 ? 0 : bytes] = '\0';
    if (fd >= 0)
        close(fd);
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

static void check(int line, bool good, const char *what)
{
    if (!good) {
        failures++;
        printf("FAILED: line %d: %s\n", line, what);
    }
}
#define CHECK(e) check(__LINE__, e, #e)

/* ---- what is tested ---- */
static void config_make(void)
{
    char text[1024];

    snprintf(text, sizeof(text),
             "node set a1 id 1 region 1 cluster 7\n"
             "port add w memif socket %s/w.sock id 0 mac 02:00:00:00:00:0a address 10.0.0.1/24\n"
             "peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port w key %s/key rate 800m\n"
             "log add 0 path %s/log\n"
             "stream add orders id 1 kind postgres-physical region 1\n"
             "stream replicate orders b\n"
             "consumer add archive stream orders\n",
             run, run, run);
    file_write("key", "0", 0600);
    file_write("node.conf", text, 0600);
}

static void test_without_dataplane(void)
{
    struct stat st;
    char path[96];

    AWAIT("show node", 0, "absent");
    snprintf(path, sizeof(path), "%s/control.sock", run);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    EXPECT("show peers", 4, "nothing is known of it yet");
    EXPECT("show config", 0, "peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port w");
    EXPECT("set peer b rate 400m", 4, "nothing was changed");
    EXPECT("--dry-run set peer b congestion bbr", 0, "800000000 bit/s, fixed -> 800000000 bit/s, bbr");
    EXPECT("set peer b congestion reno", 2, "reno");
    EXPECT("set peer b", 2, "expected rate, congestion, fec, ecn, rekey-... or drop-behind-...");
    EXPECT("--dry-run set peer b fec 2", 0,
           "800000000 bit/s, fixed, fec auto -> 800000000 bit/s, fixed, fec 2");
    EXPECT("--dry-run set peer b ecn off", 0,
           "800000000 bit/s, fixed, ecn on -> 800000000 bit/s, fixed, ecn off");
    EXPECT("set peer b fec 9", 2, "expected one of off, 1, 2");
    EXPECT("--dry-run set peer b rate 400m", 0,
           "would set rate of peer b: 800000000 bit/s, fixed -> 400000000 bit/s, fixed");
    EXPECT("show everything", 2, "expected one of node, ports");
    EXPECT("set peer b speed 1", 2,
           "expected one of rate, congestion, fec, ecn, rekey-packets, rekey-bytes, rekey-seconds, "
           "drop-behind-bytes, drop-behind-seconds, dry-run, got "
           "\"speed\"");
    CHECK(log_count("waiting for the dataplane") == 1);
}

static void test_views(void)
{
    AWAIT("show peers", 0, "100.0 MB/s");
    EXPECT("show peers", 0, "80.2 ms");
    EXPECT("show lag", 0, "1.5 MB");
    EXPECT("show streams", 0, "1/6B374D48");
    EXPECT("show drops", 0, "drop_duplicate");
    CHECK(strstr(output, "drop_never") == NULL);
    EXPECT("--all show drops", 0, "drop_never");
    EXPECT("show events", 0, "hello_from_dataplane  with a control ? byte");
    EXPECT("show ports", 0, "absent");
    EXPECT("--json show all", 0, "\"lag_ns\": 81000000");
    AWAIT("show events", 0, "config_applied");
}

static void test_changes(void)
{
    EXPECT("set peer b rate 400m", 0, "800000000 bit/s, fixed -> 400000000 bit/s, fixed");
    AWAIT("show peers", 0, "50.0 MB/s");
    EXPECT("show config", 0, "rate 400m");
    EXPECT("set peer b rate 64k", 1, "the dataplane refused: peer b: too slow to be of use");
    EXPECT("show config", 0, "rate 400m");
    EXPECT("set peer b rate 128k", 4, "did not answer in 5 s");
    EXPECT("show config", 0, "rate 400m");
    EXPECT("set peer c rate 1g", 1, "there is no peer \"c\"");
    EXPECT("consumer remove nobody", 1, "there is no consumer");
    EXPECT("--dry-run consumer remove archive", 0, "would remove consumer archive");
    EXPECT("show config", 0, "consumer add archive");
    EXPECT("consumer remove archive stream nothing", 1, "there is no consumer \"archive\" of stream nothing");
    EXPECT("consumer remove archive", 0, "consumer archive of stream orders removed");
    EXPECT("show config", 0, "stream replicate orders b");
    CHECK(strstr(output, "consumer add archive") == NULL);
}

static void test_second_control_plane(void)
{
    int status = 0;

    waitpid(control_start(), &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(log_count("another control plane runs here") == 1);
}

static void members_write(void)
{
    const struct hg_metastore_key key = {.cluster = 7, .region = 1, .group = 0};
    struct hg_metastore_record found, wanted = {.state = HG_METASTORE_OPEN, .epoch = 2, .node = 1};
    struct hg_metastore *store;
    char path[96];

    snprintf(path, sizeof(path), "%s/metastore", run);
    store = hg_metastore_file_open(path);
    CHECK(store->read(store, &key, &found) == 0);
    wanted.members = (struct hg_members){.generation = 2, .set = {.count = 1, .w = 1, .nodes = {1}}};
    CHECK(store->swap(store, &key, found.revision, &wanted, &found) == 0);
    store->close(store);
}

/* The dataplane beats and takes nothing, and its ring is full of orders: who counts in a group is told later.
 */
static void test_full_ring(void)
{
    char path[96];

    AWAIT("show peers", 0, "100.0 MB/s");
    file_write("deaf", "", 0600);
    for (uint32_t i = 0; i < cells; i++)
        EXPECT("consumer remove archive", 4, "did not answer in 5 s");
    EXPECT("consumer remove archive", 4, "takes no messages: nothing was changed");
    members_write();
    AWAIT("show events", 0, "control_ring_full");
    CHECK(log_count("control_ring_full") == 1);
    snprintf(path, sizeof(path), "%s/deaf", run);
    CHECK(unlink(path) == 0);
    AWAIT("--json show groups", 0, "\"members_generation\": 2");
    CHECK(log_count("control_ring_full") == 1);
}

int main(int argc, char **argv)
{
    pid_t control, dataplane;

    hg_assert(argc == 3);
    program_control = argv[1];
    program_ctl = argv[2];
    setvbuf(stdout, NULL, _IONBF, 0);
    signal(SIGPIPE, SIG_IGN);
    snprintf(run, sizeof(run), "/tmp/heliograph-control-XXXXXX");
    hg_assert(mkdtemp(run) != NULL);
    config_make();
    EXPECT("show node", 3, "no control plane at");

    control = control_start();
    test_without_dataplane();
    dataplane = dataplane_start();
    test_views();
    test_changes();
    test_second_control_plane();

    printf("kill -9 the dataplane\n");
    end(dataplane, SIGKILL, 0);
    AWAIT("show peers", 4, "does not run; what is shown is");
    CHECK(strstr(output, "50.0 MB/s") != NULL);
    dataplane = dataplane_start();
    AWAIT("show peers", 0, "50.0 MB/s"); /* told again what is wanted, as it was changed */
    CHECK(log_count("dataplane_attached") == 2);

    printf("kill -9 the control plane, a hundred times at any moment\n");
    for (int i = 0; i < 100; i++) {
        end(control, SIGKILL, 0);
        control = control_start();
        poll(NULL, 0, i % 25);
    }
    AWAIT("show peers", 0, "100.0 MB/s"); /* the file's again */
    CHECK(kill(dataplane, 0) == 0);

    printf("the region is damaged: a new one is made\n");
    EXPECT("set peer b rate 192k", 4, "");
    AWAIT("show events", 0, "control_ring_poisoned");
    AWAIT("show peers", 0, "100.0 MB/s");

    printf("its ring is full\n");
    end(dataplane, SIGKILL, 0);
    cells = HG_CONTROL_RING_CELLS_MIN;
    dataplane = dataplane_start();
    test_full_ring();

    printf("the dataplane stands still\n");
    kill(dataplane, SIGSTOP);
    AWAIT("show peers", 4, "is stuck");
    kill(dataplane, SIGCONT);
    AWAIT("show peers", 0, "100.0 MB/s");

    EXPECT("stop dataplane", 0, "asked to end");
    end(dataplane, 0, 0);
    AWAIT("show peers", 4, "does not run");
    end(control, SIGTERM, 0);
    EXPECT("show node", 3, "no control plane");
    if (failures == 0) {
        char command[96];

        snprintf(command, sizeof(command), "rm -rf %s", run);
        failures += system(command) != 0;
    }
    printf(failures == 0 ? "control_test: ok\n" : "control_test: %d failures; see %s\n", failures, run);
    return failures != 0;
}
