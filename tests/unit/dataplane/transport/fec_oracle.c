/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/dataplane/transport/fec_oracle.h"
#include <string.h>

static uint8_t times(uint8_t a, uint8_t b)
{
    uint8_t product = 0;
    for (; b != 0; b >>= 1) {
        product ^= (b & 1) ? a : 0;
        a = (uint8_t)((a << 1) ^ ((a & 0x80) ? 0x1d : 0));
    }
    return product;
}

static uint8_t inverse(uint8_t a)
{
    for (uint32_t b = 1; b < 256; b++)
        if (times(a, (uint8_t)b) == 1)
            return (uint8_t)b;
    return 0;
}

static uint8_t coefficient(uint32_t name, uint32_t source)
{
    return name < 32 ? name == source : inverse((uint8_t)(name ^ source));
}

uint8_t fec_oracle_parity(uint32_t k, uint32_t row, const uint8_t *sources)
{
    uint8_t parity = 0;
    for (uint32_t j = 0; j < k; j++)
        parity ^= times(coefficient(32 + row, j), sources[j]);
    return parity;
}

bool fec_oracle_sources(uint32_t k, const uint32_t *names, const uint8_t *symbols, uint8_t *sources)
{
    uint8_t a[32][33];
    for (uint32_t i = 0; i < k; i++) {
        for (uint32_t j = 0; j < k; j++)
            a[i][j] = coefficient(names[i], j);
        a[i][k] = symbols[i];
    }
    for (uint32_t column = 0; column < k; column++) {
        uint32_t pivot = column;
        while (pivot < k && a[pivot][column] == 0)
            pivot++;
        if (pivot == k)
            return false;
        uint8_t row[33];
        memcpy(row, a[pivot], sizeof(row));
        memcpy(a[pivot], a[column], sizeof(row));
        uint8_t scale = inverse(row[column]);
        for (uint32_t j = 0; j <= k; j++)
            a[column][j] = times(row[j], scale);
        for (uint32_t i = 0; i < k; i++) {
            uint8_t factor = a[i][column];
            for (uint32_t j = 0; i != column && j <= k; j++)
                a[i][j] ^= times(factor, a[column][j]);
        }
    }
    for (uint32_t i = 0; i < k; i++)
        sources[i] = a[i][k];
    return true;
}
