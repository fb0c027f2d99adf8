/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/psk/psk.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOOD "000102030405060708090a0b0c0d0e0fF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF"

static char directory[64], path[96], error[512];
static uint8_t psk[HG_PSK_BYTES];

static int load(const char *text, size_t bytes, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(write(fd, text, bytes), (ssize_t)bytes);
    CU_ASSERT_EQUAL_FATAL(fchmod(fd, mode), 0);
    close(fd);
    memset(psk, 0x77, sizeof(psk));
    error[0] = '\0';
    return hg_psk_load(path, psk, error, sizeof(error));
}

static void refused(int rc, int want, const char *says)
{
    static const uint8_t zeros[HG_PSK_BYTES];
    CU_ASSERT_EQUAL(rc, want);
    CU_ASSERT_EQUAL(memcmp(psk, zeros, sizeof(psk)), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, says));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, path));
}

static void test_good(void)
{
    CU_ASSERT_EQUAL(load(GOOD, 64, 0600), 0);
    for (int i = 0; i < 16; i++) {
        CU_ASSERT_EQUAL(psk[i], i);
        CU_ASSERT_EQUAL(psk[16 + i], 0xf0 + i);
    }
    CU_ASSERT_EQUAL(load(GOOD "\n", 65, 0600), 0);
    CU_ASSERT_EQUAL(load(GOOD "\n", 65, 0400), 0);
}

static void test_content(void)
{
    refused(load("", 0, 0600), -EINVAL, "64 hexadecimal digits");
    refused(load(GOOD, 63, 0600), -EINVAL, "64 hexadecimal digits");
    refused(load(GOOD "0", 65, 0600), -EINVAL, "64 hexadecimal digits");
    refused(load(GOOD "\n\n", 66, 0600), -EINVAL, "64 hexadecimal digits");
    refused(load(GOOD "\r\n", 66, 0600), -EINVAL, "64 hexadecimal digits");
    refused(load(" " GOOD, 65, 0600), -EINVAL, "64 hexadecimal digits");
    refused(load(GOOD GOOD, 128, 0600), -EINVAL, "64 hexadecimal digits");
    char text[64];
    for (int i = 0; i < 64; i++) {
        memcpy(text, GOOD, 64);
        text[i] = "g:/@`G \0"[i % 8];
        refused(load(text, 64, 0600), -EINVAL, "64 hexadecimal digits");
    }
}

static void test_mode(void)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0644, 0777};
    for (size_t i = 0; i < HG_COUNT(modes); i++)
        refused(load(GOOD, 64, modes[i]), -EACCES, "chmod 600");
}

static void test_not_a_file(void)
{
    CU_ASSERT_EQUAL(load(GOOD, 64, 0600), 0);
    unlink(path);
    refused(hg_psk_load(path, psk, error, sizeof(error)), -ENOENT, "openssl rand -hex 32");
    CU_ASSERT_EQUAL_FATAL(mkdir(path, 0700), 0);
    memset(psk, 0x77, sizeof(psk));
    refused(hg_psk_load(path, psk, error, sizeof(error)), -EINVAL, "not a regular file");
    rmdir(path);
    CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
    refused(hg_psk_load(path, psk, error, sizeof(error)), -EINVAL, "not a regular file");
    unlink(path);
}

int main(void)
{
    snprintf(directory, sizeof(directory), "/tmp/hg_psk_test.XXXXXX");
    if (mkdtemp(directory) == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    snprintf(path, sizeof(path), "%s/key", directory);
    CU_pSuite suite = CU_add_suite("psk", NULL, NULL);
    CU_ADD_TEST(suite, test_good);
    CU_ADD_TEST(suite, test_content);
    CU_ADD_TEST(suite, test_mode);
    CU_ADD_TEST(suite, test_not_a_file);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    unlink(path);
    rmdir(directory);
    return failures != 0;
}
