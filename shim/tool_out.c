/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_out.c — tables for people, JSON for programs, bytes and ages in the few letters both kinds of column have. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/str.h"
#include "shim/tool.h"

void table_add(struct table *t, const char *const *cells, size_t n)
{
	char *(*rows)[TABLE_COLUMNS] = realloc(t->rows, (t->n_rows + 1) * sizeof(*rows));

	if (!rows)
		return;
	t->rows = rows;
	t->n_columns = n;
	for (size_t i = 0; i < n; i++)
		rows[t->n_rows][i] = strdup(cells[i] ? cells[i] : "");
	t->n_rows++;
}

void table_print(const struct table *t, FILE *f)
{
	size_t width[TABLE_COLUMNS] = { 0 };

	for (size_t r = 0; r < t->n_rows; r++)
		for (size_t i = 0; i < t->n_columns; i++)
			if (t->rows[r][i] && strlen(t->rows[r][i]) > width[i])
				width[i] = strlen(t->rows[r][i]);
	for (size_t r = 0; r < t->n_rows; r++) {
		for (size_t i = 0; i + 1 < t->n_columns; i++)
			(void)fprintf(f, "%-*s  ", (int)width[i], t->rows[r][i] ? t->rows[r][i] : "");
		(void)fprintf(f, "%s\n", t->n_columns && t->rows[r][t->n_columns - 1] ? t->rows[r][t->n_columns - 1] : "");
	}
}

void table_done(struct table *t)
{
	for (size_t r = 0; r < t->n_rows; r++)
		for (size_t i = 0; i < t->n_columns; i++)
			free(t->rows[r][i]);
	free(t->rows);
	*t = (struct table){ 0 };
}

/* ---- JSON ---- */

static void quote(FILE *f, const char *s)
{
	(void)fputc('"', f);
	for (; *s; s++) {
		const unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			(void)fprintf(f, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(f, "\\u%04x", c);
		else
			(void)fputc(c, f);
	}
	(void)fputc('"', f);
}

static void key_of(struct json *j, const char *key)
{
	if (j->needs_comma)
		(void)fputc(',', j->f);
	j->needs_comma = true;
	if (key)
		(void)fprintf(j->f, "\"%s\":", key);
}

void json_begin(struct json *j, const char *key, char bracket)
{
	key_of(j, key);
	(void)fputc(bracket, j->f);
	j->needs_comma = false;
}

void json_end(struct json *j, char bracket)
{
	(void)fputc(bracket, j->f);
	j->needs_comma = true;
}

void json_str(struct json *j, const char *key, const char *s)
{
	key_of(j, key);
	quote(j->f, s ? s : "");
}

void json_u64(struct json *j, const char *key, uint64_t v)
{
	key_of(j, key);
	(void)fprintf(j->f, "%" PRIu64, v);
}

void json_bool(struct json *j, const char *key, bool v)
{
	key_of(j, key);
	(void)fputs(v ? "true" : "false", j->f);
}

/* ---- numbers ---- */

const char *text_bytes(uint64_t bytes, char buf[16])
{
	static const char units[] = "KMGTP";
	size_t u = 0;

	bytes = (bytes + 512) >> 10;
	for (; bytes >= 10000 && u + 2 < sizeof(units); u++)
		bytes = (bytes + 512) >> 10;
	(void)hk_fmt(buf, 16, "%" PRIu64 "%ci", bytes, units[u]);
	return buf;
}

const char *text_age(uint64_t s, char buf[16])
{
	if (s < 120)
		(void)hk_fmt(buf, 16, "%us", (unsigned)s);
	else if (s < 7200)
		(void)hk_fmt(buf, 16, "%um", (unsigned)(s / 60));
	else if (s < 48 * 3600)
		(void)hk_fmt(buf, 16, "%uh", (unsigned)(s / 3600));
	else
		(void)hk_fmt(buf, 16, "%ud", (unsigned)(s / 86400));
	return buf;
}
