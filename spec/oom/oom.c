/*
 * oom: memory that fails at every allocation in turn. Runs one scene of scenes.lua again
 * and again, each time in a Lua state of its own, and the n-th allocation that weft's C
 * or Lua asks for after arm() fails; n = 1, 2, 3 ... until the scene ends before it.
 *
 *   oom SCENE      prints what became of each; fails when any of it was not in order
 *   oom SCENE N    only the n-th, and where it was asked for
 *
 * The linker's --wrap leads weft's calls (and nobody else's) here. After each state was
 * closed nothing that they allocated may be left. Built with a sanitizer: see oom.mk.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int luaopen_weft_core(lua_State *L);

void *__real_malloc(size_t n);
void *__real_calloc(size_t k, size_t n);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
int __real_deflateInit2_(z_streamp z, int level, int method, int bits, int mem, int how,
                         const char *version, int size);
int __real_inflateInit2_(z_streamp z, int bits, const char *version, int size);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t k, size_t n);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_deflateInit2_(z_streamp z, int level, int method, int bits, int mem, int how,
                         const char *version, int size);
int __wrap_inflateInit2_(z_streamp z, int bits, const char *version, int size);

void __sanitizer_print_stack_trace(void);

/* -- which one fails ------------------------------------------------------------------
 */

static struct {
    pthread_t main;   /* what the threads that look names up need does not count */
    size_t left;      /* until one fails; 0: none does */
    size_t n;         /* the one that fails in this round */
    size_t lua_again; /* the size that Lua asks for once more after it collected */
    bool fired, traced;
} meter;

static atomic_long live; /* what weft's C holds */

static bool fails(void)
{
    if (!pthread_equal(pthread_self(), meter.main) || meter.left == 0 || --meter.left > 0)
        return false;
    meter.fired = true;
    if (meter.traced)
        __sanitizer_print_stack_trace();
    return true;
}

static void *held(void *p)
{
    live += p != NULL;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : held(__real_malloc(n));
}

void *__wrap_calloc(size_t k, size_t n)
{
    return fails() ? NULL : held(__real_calloc(k, n));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    void *q = __real_realloc(p, n);
    live += q && !p;
    return q;
}

void __wrap_free(void *p)
{
    live -= p != NULL;
    __real_free(p);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : held(__real_strdup(s));
}

char *__wrap_strndup(const char *s, size_t n)
{
    return fails() ? NULL : held(__real_strndup(s, n));
}

int __wrap_deflateInit2_(z_streamp z, int level, int method, int bits, int mem, int how,
                         const char *version, int size)
{
    return fails()
               ? Z_MEM_ERROR
               : __real_deflateInit2_(z, level, method, bits, mem, how, version, size);
}

int __wrap_inflateInit2_(z_streamp z, int bits, const char *version, int size)
{
    return fails() ? Z_MEM_ERROR : __real_inflateInit2_(z, bits, version, size);
}

/* Lua collects when memory is out and asks once more: that has to fail, too. */
static void *allocate(void *ud, void *p, size_t old, size_t size)
{
    (void)ud;
    if (size == 0) {
        __real_free(p);
        return NULL;
    }
    if (p && size <= old)
        return __real_realloc(p, size);
    size_t again = meter.lua_again;
    meter.lua_again = 0;
    if (again == size)
        return NULL;
    if (fails()) {
        meter.lua_again = size;
        return NULL;
    }
    return __real_realloc(p, size);
}

/* -- a state --------------------------------------------------------------------------
 */

static int l_arm(lua_State *L)
{
    (void)L;
    meter.left = meter.n;
    return 0;
}

/* disarm() -> did one fail? */
static int l_disarm(lua_State *L)
{
    meter.left = meter.lua_again = 0;
    lua_pushboolean(L, meter.fired);
    return 1;
}

static void load(lua_State *L, const char *path)
{
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_weft_core);
    lua_setfield(L, -2, "weft.core");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_arm);
    lua_setglobal(L, "arm");
    lua_pushcfunction(L, l_disarm);
    lua_setglobal(L, "disarm");
    if (luaL_loadfile(L, path) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(2);
    }
}

/* One round; true: in order. Leaves in `what` what the scene said became of it. */
static bool play(const char *scene, char *what, size_t room)
{
    lua_State *L = lua_newstate(allocate, NULL);
    load(L, "spec/oom/scenes.lua");
    lua_pushstring(L, scene);
    bool ok = lua_pcall(L, 1, 1, 0) == LUA_OK;
    meter.left = meter.lua_again = 0;
    snprintf(what, room, "%s", luaL_tolstring(L, -1, NULL));
    lua_close(L);
    if (ok && live != 0) {
        snprintf(what, room, "%ld allocations are left", (long)live);
        ok = false;
    }
    live = 0;
    return ok;
}

/* -- all rounds -----------------------------------------------------------------------
 */

typedef struct tally {
    char what[64];
    size_t n;
} tally;

static void count(tally *t, const char *what)
{
    while (t->n > 0 && strcmp(t->what, what) != 0)
        t++;
    snprintf(t->what, sizeof t->what, "%.60s", what);
    t->n++;
}

int main(int argc, char **argv)
{
    enum { MOST = 20000 };
    static tally tallies[32];
    static char what[4000];
    size_t bad = 0, n = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    if (argc < 2)
        return fprintf(stderr, "usage: oom SCENE [N]\n"), 2;
    meter.traced = argc > 2;
    meter.main = pthread_self();
    do {
        meter.n = n;
        meter.fired = false;
        if (play(argv[1], what, sizeof what)) {
            count(tallies, meter.fired ? what : "all well");
        } else {
            printf("%s, allocation %zu: %s\n", argv[1], n, what);
            bad++;
        }
    } while (meter.fired && !meter.traced && ++n < MOST && bad < 20);
    printf("%-10s %5zu allocations failed in turn:", argv[1], n - 1);
    for (tally *t = tallies; t->n > 0; t++)
        if (strcmp(t->what, "all well") != 0)
            printf(" %zu %s,", t->n, t->what);
    printf(" %zu not in order\n", bad);
    return bad > 0 || (meter.fired && !meter.traced);
}
