/* SPDX-License-Identifier: Apache-2.0
 *
 * orphan_file_test HELIOCTL: orphan files on a real file system, and what `helioctl orphan` does with them:
 * whole or not, through links, names that leave the directory.
 */
#include "dataplane/orphan_file.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCHES 3u
#define PATH    4200u

static const char *helioctl;
static char run[256];
static uint8_t batches[4u << 20] __attribute__((aligned(16)));
static uint32_t ends[BATCHES + 1];
static struct hg_orphan_header header;

static void batches_make(void)
{
    static uint8_t raw[(HG_FRAME_BYTES_MAX + 4095) & ~4095ull];
    void *lz4 = malloc((size_t)LZ4_sizeofState());
    uint8_t chain[16] = {7};
    memset(&header, 0, sizeof(header));
    header.stream = 11;
    header.incarnation = 1;
    header.kind = HG_STREAM_KEY_VALUE;
    header.epoch_cut = 5;
    header.lsn_first = 100;
    memcpy(header.name, "one", 4);
    memcpy(header.chain_previous, chain, sizeof(chain));
    for (uint32_t i = 0; i < BATCHES; i++) {
        struct hg_batch_builder builder;
        struct hg_frame frame = {
            .lsn = 100 + i, .span = 1, .op = HG_OP_INSERT, .data_bytes = 5, .data = "entry", .hlc = 1000 + i};
        struct hg_batch_origin origin = {
            .stream = 11, .incarnation = 1, .kind = HG_STREAM_KEY_VALUE, .region = 1, .epoch = 1};
        hg_batch_builder_init(&builder, raw, sizeof(raw));
        CU_ASSERT_EQUAL_FATAL(hg_batch_builder_add(&builder, &frame), 0);
        memcpy(origin.chain_previous, chain, sizeof(chain));
        uint32_t bytes = hg_batch_seal(&builder, &origin, NULL, 0, batches + ends[i],
                                       hg_batch_sealed_bytes_max(&builder, 0), lz4);
        memcpy(chain, ((const struct hg_batch_header *)(batches + ends[i]))->chain, sizeof(chain));
        ends[i + 1] = ends[i] + bytes;
    }
    header.lsn_end = 100 + BATCHES;
    header.batch_count = BATCHES;
    header.batches_bytes = ends[BATCHES];
    memcpy(header.chain, chain, sizeof(chain));
    hg_orphan_seal(&header);
    free(lz4);
}

static struct hg_orphan_piece piece_of(uint32_t from, uint32_t to)
{
    struct hg_orphan_piece piece = {.offset = sizeof(header) + ends[from],
                                    .bytes = ends[to] - ends[from],
                                    .is_first = from == 0,
                                    .is_last = to == BATCHES,
                                    .header = header,
                                    .data = batches + ends[from]};
    hg_orphan_name(&header, piece.name);
    return piece;
}

static const char *path_of(const char *name)
{
    static char path[PATH];
    snprintf(path, sizeof(path), "%s/orphan/%.256s", run, name);
    return path;
}

static int ctl(const char *words)
{
    char line[4 * PATH];
    snprintf(line, sizeof(line), "%s --run %s orphan %.4096s > %s/out 2>&1", helioctl, run, words, run);
    int rc = system(line);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static bool says(const char *text)
{
    static char out[1u << 16];
    char path[PATH];
    snprintf(path, sizeof(path), "%s/out", run);
    int fd = open(path, O_RDONLY);
    ssize_t bytes = fd >= 0 ? read(fd, out, sizeof(out) - 1) : 0;
    out[bytes > 0 ? bytes : 0] = '\0';
    close(fd);
    return strstr(out, text) != NULL;
}

/* The cut is in the log, and says of which file with this name. */
static void recorded_of(uint64_t chain_head)
{
    struct hg_orphan_piece piece = {.is_recorded = true, .chain_head = chain_head};
    hg_orphan_name(&header, piece.name);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &piece), 0);
}

/* As logs of before have it. */
static void recorded(void)
{
    recorded_of(0);
}

static void test_pieces(void)
{
    batches_make();
    struct hg_orphan_piece first = piece_of(0, 2), last = piece_of(2, BATCHES);
    struct stat stat_of;
    CU_ASSERT_EQUAL(ctl("list"), 0); /* no directory yet */
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &first), 0);
    CU_ASSERT_NOT_EQUAL(stat(path_of(first.name), &stat_of), 0); /* not before it is whole */
    CU_ASSERT_EQUAL(ctl("list"), 0);
    CU_ASSERT_FALSE(says("one-1-5-100"));
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &last), 0);
    CU_ASSERT_EQUAL_FATAL(stat(path_of(first.name), &stat_of), 0);
    CU_ASSERT_EQUAL(stat_of.st_size, (off_t)(sizeof(header) + ends[BATCHES]));
    CU_ASSERT_EQUAL(ctl("list"), 0);
    CU_ASSERT_TRUE(says("one-1-5-100.orphan") && says("cut not recorded") && !says("whole"));
    CU_ASSERT_EQUAL(ctl("show one-1-5-100.orphan"), 0);
    CU_ASSERT_TRUE(says("cut not recorded"));
    CU_ASSERT_EQUAL(ctl("--dry-run resubmit one-1-5-100.orphan"), 1); /* they may be in the stream */
    CU_ASSERT_TRUE(says("has not recorded the cut"));
    recorded();
    CU_ASSERT_EQUAL(ctl("list"), 0);
    CU_ASSERT_TRUE(says("one-1-5-100.orphan") && says("whole"));
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &first), 0);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &last), 0);
    CU_ASSERT_EQUAL(ctl("show one-1-5-100.orphan"), 0);
    CU_ASSERT_TRUE(says("cut not recorded")); /* it is another one */
    recorded();
    recorded(); /* as each start does */
    CU_ASSERT_EQUAL(ctl("show one-1-5-100.orphan"), 0);
    CU_ASSERT_TRUE(says("[102, 103) 1 entries"));
    CU_ASSERT_EQUAL(ctl("--json show one-1-5-100.orphan"), 0);
    CU_ASSERT_TRUE(says("\"batch_list\""));
}

static void test_export_discard(void)
{
    char words[2 * PATH];
    struct stat stat_of;
    snprintf(words, sizeof(words), "export one-1-5-100.orphan %s/copy", run);
    CU_ASSERT_EQUAL(ctl(words), 0);
    CU_ASSERT_EQUAL(ctl(words), 1); /* nothing is overwritten */
    CU_ASSERT_TRUE(says("stays"));
    snprintf(words, sizeof(words), "cmp %s %s/copy", path_of("one-1-5-100.orphan"), run);
    CU_ASSERT_EQUAL(system(words), 0);
    CU_ASSERT_EQUAL(ctl("discard one-1-5-100.orphan"), 1);
    CU_ASSERT_TRUE(says("--yes"));
    CU_ASSERT_EQUAL(ctl("--dry-run discard one-1-5-100.orphan --yes"), 0);
    CU_ASSERT_EQUAL(stat(path_of("one-1-5-100.orphan"), &stat_of), 0);
    CU_ASSERT_EQUAL(ctl("--dry-run resubmit one-1-5-100.orphan"), 0);
    CU_ASSERT_TRUE(says("3 entries"));
    CU_ASSERT_EQUAL(ctl("discard one-1-5-100.orphan --yes"), 0);
    CU_ASSERT_NOT_EQUAL(stat(path_of("one-1-5-100.orphan"), &stat_of), 0);
    CU_ASSERT_NOT_EQUAL(stat(path_of("one-1-5-100.orphan" HG_ORPHAN_CUT), &stat_of), 0);
    recorded(); /* nothing is made beside what is not there */
    CU_ASSERT_NOT_EQUAL(stat(path_of("one-1-5-100.orphan" HG_ORPHAN_CUT), &stat_of), 0);
}

static bool is_there(const char *name)
{
    struct stat stat_of;
    return stat(path_of(name), &stat_of) == 0;
}

/* Two tails of one copy, cut at one place under one epoch: the first is kept, with what is noted of it. */
static void test_same_name(void)
{
    struct hg_orphan_piece first = piece_of(0, BATCHES), second = first;
    struct hg_orphan_header other = header;
    char aside[64], note[80];
    memset(other.chain, 0xa5, sizeof(other.chain));
    hg_orphan_seal(&other);
    second.header = other;
    snprintf(aside, sizeof(aside), "one-1-5-100-%02x%02x%02x%02x.orphan", header.chain[0], header.chain[1],
             header.chain[2], header.chain[3]);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &first), 0);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &first), 0); /* again, after a crash: it is the same */
    CU_ASSERT_FALSE(is_there(aside));
    recorded();
    CU_ASSERT_EQUAL(close(open(path_of("one-1-5-100.orphan" HG_ORPHAN_RESUBMIT), O_WRONLY | O_CREAT, 0600)),
                    0);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &second), 0);
    CU_ASSERT_TRUE(is_there("one-1-5-100.orphan"));
    CU_ASSERT_FALSE(is_there("one-1-5-100.orphan" HG_ORPHAN_CUT));
    CU_ASSERT_FALSE(is_there("one-1-5-100.orphan" HG_ORPHAN_RESUBMIT));
    snprintf(note, sizeof(note), "%s" HG_ORPHAN_RESUBMIT, aside);
    CU_ASSERT_TRUE(is_there(note));
    CU_ASSERT_EQUAL(ctl("list"), 0);
    CU_ASSERT_TRUE(says(aside));
    char words[96];
    snprintf(words, sizeof(words), "show %s", aside);
    CU_ASSERT_EQUAL(ctl(words), 0); /* whole, and its cut is recorded */
    CU_ASSERT_TRUE(says("[102, 103) 1 entries") && says("whole"));
    /* A note that says nothing, or that can't be read, is not taken for none. */
    snprintf(words, sizeof(words), "--dry-run resubmit %s", aside);
    CU_ASSERT_EQUAL(ctl(words), 1);
    CU_ASSERT_TRUE(says(HG_ORPHAN_RESUBMIT " can't be read (it is damaged)"));
    CU_ASSERT_EQUAL(unlink(path_of(note)), 0);
    CU_ASSERT_EQUAL(symlink("/etc/passwd", path_of(note)), 0);
    CU_ASSERT_EQUAL(ctl(words), 1);
    CU_ASSERT_TRUE(says(HG_ORPHAN_RESUBMIT " can't be read"));
    snprintf(words, sizeof(words), "discard %s --yes", aside);
    CU_ASSERT_EQUAL(ctl(words), 0);
    CU_ASSERT_EQUAL(ctl("discard one-1-5-100.orphan --yes"), 0);
}

/* What has the name and does not say what it is, is kept: a part of it may be all that there is. */
static void test_name_of_a_damaged_one(void)
{
    static const char name[] = "one-1-5-100.orphan";
    struct hg_orphan_piece whole = piece_of(0, BATCHES);
    const uint32_t none = 0;
    char aside[64], words[2 * PATH];
    snprintf(aside, sizeof(aside), "one-1-5-100-%02x%02x%02x%02x.orphan", header.chain[0], header.chain[1],
             header.chain[2], header.chain[3]);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &whole), 0);
    int fd = open(path_of(name), O_WRONLY); /* its magic number */
    CU_ASSERT_EQUAL(write(fd, &none, sizeof(none)), sizeof(none));
    close(fd);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &whole), 0);
    CU_ASSERT_TRUE(is_there(aside));
    snprintf(words, sizeof(words), "show %s", aside);
    CU_ASSERT_NOT_EQUAL(ctl(words), 0);
    recorded();
    snprintf(words, sizeof(words), "show %s", name);
    CU_ASSERT_EQUAL(ctl(words), 0);
    CU_ASSERT_EQUAL(unlink(path_of(aside)), 0);
    /* Neither a link nor a directory is gone through, or in the way. */
    CU_ASSERT_EQUAL(unlink(path_of(name)), 0);
    CU_ASSERT_EQUAL(mkdir(path_of(name), 0700), 0);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &whole), 0);
    CU_ASSERT_TRUE(is_there("one-1-5-100-00000000.orphan"));
    CU_ASSERT_EQUAL(rmdir(path_of("one-1-5-100-00000000.orphan")), 0);
    snprintf(words, sizeof(words), "discard %s --yes", name);
    CU_ASSERT_EQUAL(ctl(words), 0);
}

static bool is_noted(const char *name)
{
    char note[80];
    snprintf(note, sizeof(note), "%s" HG_ORPHAN_CUT, name);
    return is_there(note);
}

/* The note of a cut that comes, or comes again, when another file has the name. */
static void test_note_of_its_file(void)
{
    static const char name[] = "one-1-5-100.orphan", damaged[] = "no header";
    struct hg_orphan_piece first = piece_of(0, BATCHES), second = first;
    uint64_t head = hg_orphan_chain_head(&first.header);
    char aside[64], words[96];
    memset(second.header.chain, 0x5a, sizeof(second.header.chain));
    hg_orphan_seal(&second.header);
    snprintf(aside, sizeof(aside), "one-1-5-100-%02x%02x%02x%02x.orphan", header.chain[0], header.chain[1],
             header.chain[2], header.chain[3]);
    /* The second cut never came into the log: the next life has the record of the first alone. */
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &first), 0);
    recorded_of(head);
    CU_ASSERT_TRUE(is_noted(name));
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &second), 0);
    recorded_of(head);
    CU_ASSERT_FALSE(is_noted(name));
    CU_ASSERT_TRUE(is_noted(aside));
    /* The note of the first could not be written, and comes behind the second file. */
    snprintf(words, sizeof(words), "%s" HG_ORPHAN_CUT, aside);
    CU_ASSERT_EQUAL(unlink(path_of(words)), 0);
    recorded_of(head);
    CU_ASSERT_TRUE(is_noted(aside));
    CU_ASSERT_FALSE(is_noted(name));
    recorded_of(hg_orphan_chain_head(&second.header));
    CU_ASSERT_TRUE(is_noted(name));
    /* The first was discarded: there is nothing to note. */
    snprintf(words, sizeof(words), "discard %s --yes", aside);
    CU_ASSERT_EQUAL(ctl(words), 0);
    CU_ASSERT_EQUAL(unlink(path_of("one-1-5-100.orphan" HG_ORPHAN_CUT)), 0);
    recorded_of(head);
    CU_ASSERT_FALSE(is_noted(aside) || is_noted(name));
    /* What stands there does not say what it is. */
    int fd = open(path_of(name), O_WRONLY | O_TRUNC);
    CU_ASSERT_EQUAL(write(fd, damaged, sizeof(damaged)), sizeof(damaged));
    close(fd);
    recorded_of(head);
    CU_ASSERT_FALSE(is_noted(name));
    CU_ASSERT_EQUAL(unlink(path_of(name)), 0);
    CU_ASSERT_EQUAL(symlink("/etc/passwd", path_of(name)), 0);
    recorded_of(head);
    CU_ASSERT_FALSE(is_noted(name));
    CU_ASSERT_EQUAL(unlink(path_of(name)), 0);
}

/* Every byte of the header and of the batches counts. */
static void test_damage(void)
{
    for (uint32_t at = 0; at < sizeof(header) + ends[BATCHES]; at += 37) {
        struct hg_orphan_piece piece = piece_of(0, BATCHES);
        CU_ASSERT_EQUAL(hg_orphan_file_write(run, &piece), 0);
        int fd = open(path_of(piece.name), O_RDWR);
        uint8_t byte;
        CU_ASSERT_EQUAL(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        CU_ASSERT_EQUAL(ctl("show one-1-5-100.orphan"), 1);
        at += at > sizeof(header) ? 150 : 60;
    }
    CU_ASSERT_EQUAL(ctl("export one-1-5-100.orphan /tmp/never"), 1);
    CU_ASSERT_EQUAL(ctl("resubmit one-1-5-100.orphan"), 1);
    CU_ASSERT_EQUAL(ctl("discard one-1-5-100.orphan --yes"), 0);
}

static void test_links_and_names(void)
{
    struct hg_orphan_piece piece = piece_of(0, BATCHES);
    char part[PATH];
    CU_ASSERT_EQUAL(ctl("show ../out"), 1);
    CU_ASSERT_TRUE(says("no orphan's name"));
    CU_ASSERT_EQUAL(ctl("discard ../../x.orphan --yes"), 1);
    CU_ASSERT_EQUAL(ctl("show .x.orphan"), 1);
    CU_ASSERT_EQUAL(symlink("/etc/passwd", path_of("link-1-1-1.orphan")), 0);
    CU_ASSERT_EQUAL(ctl("show link-1-1-1.orphan"), 1);
    CU_ASSERT_TRUE(says("not followed"));
    CU_ASSERT_EQUAL(ctl("list"), 0); /* nothing that is there is left out */
    CU_ASSERT_TRUE(says("link-1-1-1.orphan") && says("not followed"));
    snprintf(part, sizeof(part), "%s.part", piece.name);
    CU_ASSERT_EQUAL(symlink("/tmp/elsewhere", path_of(part)), 0);
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &piece), -EXDEV);
    CU_ASSERT_NOT_EQUAL(access("/tmp/elsewhere", F_OK), 0);
    snprintf(piece.name, sizeof(piece.name), "../x.orphan");
    CU_ASSERT_EQUAL(hg_orphan_file_write(run, &piece), -EINVAL);
    CU_ASSERT_EQUAL(ctl("frobnicate x"), 2);
    CU_ASSERT_EQUAL(ctl(""), 2);
    CU_ASSERT_EQUAL(ctl("--json"), 2);
    CU_ASSERT_TRUE(says("\"code\": 2") && says("orphan --help"));
    CU_ASSERT_EQUAL(ctl("--help"), 0);
    CU_ASSERT_TRUE(says("example: helioctl orphan show"));
}

int main(int argc, char **argv)
{
    char remove[PATH];
    if (argc != 2)
        return 2;
    helioctl = argv[1];
    snprintf(run, sizeof(run), "/tmp/orphan-file-test-XXXXXX");
    if (mkdtemp(run) == NULL)
        return 1;
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("orphan_file", NULL, NULL);
    CU_add_test(suite, "pieces", test_pieces);
    CU_add_test(suite, "export and discard", test_export_discard);
    CU_add_test(suite, "two of one name", test_same_name);
    CU_add_test(suite, "the name of a damaged one", test_name_of_a_damaged_one);
    CU_add_test(suite, "a note is of its file", test_note_of_its_file);
    CU_add_test(suite, "damage", test_damage);
    CU_add_test(suite, "links and names", test_links_and_names);
    CU_basic_run_tests();
    snprintf(remove, sizeof(remove), "rm -r %s", run);
    int rc = system(remove);
    return rc != 0 || CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 7;
}
