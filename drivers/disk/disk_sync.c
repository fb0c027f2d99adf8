/* SPDX-License-Identifier: Apache-2.0
 *
 * What a device says of its cache, and which way of making writes durable follows from that.
 */
#include "drivers/disk/disk.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define WORD_BYTES 32u

/* The first line of a device's attribute; a partition has none of its own, its disk has. */
static bool attribute_read(const struct hg_disk_cache *cache, const char *name, char *word)
{
    static const char *const places[] = {"/sys/dev/block/%u:%u/queue/%s", "/sys/dev/block/%u:%u/../queue/%s"};
    char path[96];
    for (size_t i = 0; i < HG_COUNT(places); i++) {
        snprintf(path, sizeof(path), places[i], cache->device_major, cache->device_minor, name);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            continue;
        bool is_read = fgets(word, WORD_BYTES, file) != NULL;
        fclose(file);
        word[strcspn(word, "\n")] = '\0';
        return is_read;
    }
    return false;
}

void hg_disk_cache_get(const char *path, struct hg_disk_cache *cache)
{
    struct stat status;
    char mode[WORD_BYTES], fua[WORD_BYTES];
    memset(cache, 0, sizeof(*cache));
    if (stat(path, &status) != 0)
        return;
    dev_t device = S_ISBLK(status.st_mode) ? status.st_rdev : status.st_dev;
    cache->device_major = major(device);
    cache->device_minor = minor(device);
    if (!attribute_read(cache, "write_cache", mode))
        return;
    cache->is_write_back = strcmp(mode, "write back") == 0;
    cache->is_known = cache->is_write_back || strcmp(mode, "write through") == 0;
    cache->has_fua = attribute_read(cache, "fua", fua) && strcmp(fua, "1") == 0;
}

enum hg_disk_sync hg_disk_sync_choose(const struct hg_disk_cache *cache)
{
    bool is_dsync = cache->is_known && (cache->has_fua || !cache->is_write_back);
    return is_dsync ? HG_DISK_SYNC_DSYNC : HG_DISK_SYNC_GROUP;
}

const char *hg_disk_sync_name(enum hg_disk_sync sync)
{
    static const char *const names[] = {
        [HG_DISK_SYNC_AUTO] = "auto", [HG_DISK_SYNC_GROUP] = "group", [HG_DISK_SYNC_DSYNC] = "dsync"};
    return names[sync];
}

void hg_disk_cache_text(const struct hg_disk_cache *cache, char *text, size_t text_bytes)
{
    const char *name = hg_disk_sync_name(hg_disk_sync_choose(cache));
    if (!cache->is_known)
        snprintf(text, text_bytes, "%s (no device says how its cache works)", name);
    else
        snprintf(text, text_bytes, "%s (device %u:%u has %s%s)", name, cache->device_major,
                 cache->device_minor, cache->is_write_back ? "a volatile cache and " : "no volatile cache",
                 !cache->is_write_back ? ""
                 : cache->has_fua      ? "FUA"
                                       : "no FUA");
}
