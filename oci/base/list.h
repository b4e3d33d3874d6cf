/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/list.h — an intrusive, circular, doubly linked list. A list head is a node that points to itself. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hk_list {
	struct hk_list *prev, *next;
};

static inline void hk_list_init(struct hk_list *n)
{
	n->prev = n->next = n;
}
static inline bool hk_list_is_empty(const struct hk_list *head)
{
	return head->next == head;
}
static inline void hk_list_append(struct hk_list *head, struct hk_list *n)
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}
/* Unlinks n and leaves it a list of its own, so a second removal is harmless. */
static inline void hk_list_remove(struct hk_list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	hk_list_init(n);
}

#define hk_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define hk_list_for(pos, head) for (struct hk_list *pos = (head)->next; pos != (head); pos = pos->next)
/* The body may remove and free the current element. */
#define hk_list_for_safe(pos, nxt, head) \
	for (struct hk_list *pos = (head)->next, *nxt = pos->next; pos != (head); pos = nxt, nxt = pos->next)
