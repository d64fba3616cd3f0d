/*
 * states: what Lua alone cannot do, as a module for specs. The spec that needs it
 * compiles it; it is no part of weft.
 *
 *   fork() -> child's id, or 0 in the child     wait(id) -> exit status, or 128 + signal
 *   quit(status): _exit, which closes no Lua state
 *   new() -> state: an independent Lua state; state:run(code) -> what it returns, as a
 *   string, or nil and the error; state:close()
 *   state:starve(n): its n-th allocation from now on fails, as if memory were out then;
 * 0: none does. Returns whether the one before it did. threads(n, code) -> how many of n
 * threads, each with a state of its own, got "ok"
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int luaopen_states(lua_State *L);

static int l_fork(lua_State *L)
{
    lua_pushinteger(L, fork());
    return 1;
}

static int l_wait(lua_State *L)
{
    int status = 0;
    waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0);
    lua_pushinteger(L,
                    WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    return 1;
}

static int l_quit(lua_State *L)
{
    _exit((int)luaL_checkinteger(L, 1));
}

/* Allocations left until one fails; 0: none does. */
typedef struct meter {
    size_t left;
    bool starved;
} meter;

static void *allocate(void *ud, void *p, size_t old, size_t size)
{
    meter *m = ud;
    if (size == 0) {
        free(p);
        return NULL;
    }
    bool grows = !p || size > old;
    if (grows && m->starved) {
        m->starved = false; /* Lua tried again after a collection: now it gives up */
        return NULL;
    }
    if (grows && m->left > 0 && --m->left == 0) {
        m->starved = true;
        return NULL;
    }
    return realloc(p, size);
}

/* With the paths of the state that asks. */
static lua_State *new_state(meter *m, const char *path, const char *cpath)
{
    *m = (meter){ 0, false };
    lua_State *S = lua_newstate(allocate, m);
    if (!S)
        return NULL;
    luaL_openlibs(S);
    lua_getglobal(S, "package");
    lua_pushstring(S, path);
    lua_setfield(S, -2, "path");
    lua_pushstring(S, cpath);
    lua_setfield(S, -2, "cpath");
    lua_settop(S, 0);
    return S;
}

/* [-0, +2, m] */
static void push_paths(lua_State *L, const char **path, const char **cpath)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    *path = lua_tostring(L, -1);
    lua_getfield(L, -2, "cpath");
    *cpath = lua_tostring(L, -1);
    lua_remove(L, -3);
}

typedef struct state {
    lua_State *S;
    meter meter;
} state;

static int l_new(lua_State *L)
{
    const char *path, *cpath;
    push_paths(L, &path, &cpath);
    state *s = lua_newuserdatauv(L, sizeof *s, 0);
    s->S = new_state(&s->meter, path, cpath);
    luaL_setmetatable(L, "states.state");
    return 1;
}

static int state_run(lua_State *L)
{
    lua_State *S = ((state *)luaL_checkudata(L, 1, "states.state"))->S;
    int status = luaL_dostring(S, luaL_checkstring(L, 2));
    if (status != LUA_OK)
        lua_pushnil(L);
    lua_pushstring(L, lua_gettop(S) > 0 ? luaL_tolstring(S, -1, NULL) : "");
    lua_settop(S, 0);
    return status == LUA_OK ? 1 : 2;
}

static int state_starve(lua_State *L)
{
    meter *m = &((state *)luaL_checkudata(L, 1, "states.state"))->meter;
    lua_pushboolean(L, m->left == 0);
    *m = (meter){ (size_t)luaL_checkinteger(L, 2), false };
    return 1;
}

static int state_close(lua_State *L)
{
    state *s = luaL_checkudata(L, 1, "states.state");
    s->meter = (meter){ 0, false };
    if (s->S)
        lua_close(s->S);
    s->S = NULL;
    return 0;
}

typedef struct job {
    pthread_t thread;
    const char *path, *cpath, *code;
    int ok;
} job;

static void *work(void *arg)
{
    job *j = arg;
    meter m;
    lua_State *S = new_state(&m, j->path, j->cpath);
    if (S && luaL_dostring(S, j->code) == LUA_OK && lua_gettop(S) > 0)
        j->ok = strcmp(luaL_tolstring(S, -1, NULL), "ok") == 0;
    if (S)
        lua_close(S);
    return NULL;
}

static int l_threads(lua_State *L)
{
    enum { MAX = 16 };
    job jobs[MAX];
    int n = (int)luaL_checkinteger(L, 1), good = 0;
    luaL_argcheck(L, n <= MAX, 1, "too many threads");
    const char *code = luaL_checkstring(L, 2), *path, *cpath;
    push_paths(L, &path, &cpath);
    for (int i = 0; i < n; i++) {
        jobs[i] = (job){ .path = path, .cpath = cpath, .code = code };
        if (pthread_create(&jobs[i].thread, NULL, work, &jobs[i]) != 0)
            abort();
    }
    for (int i = 0; i < n; i++) {
        pthread_join(jobs[i].thread, NULL);
        good += jobs[i].ok;
    }
    lua_pushinteger(L, good);
    return 1;
}

int luaopen_states(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "fork", l_fork }, { "wait", l_wait },       { "quit", l_quit },
        { "new", l_new },   { "threads", l_threads }, { NULL, NULL },
    };
    static const luaL_Reg methods[] = { { "run", state_run },
                                        { "starve", state_starve },
                                        { "close", state_close },
                                        { "__gc", state_close },
                                        { NULL, NULL } };
    luaL_newmetatable(L, "states.state");
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
