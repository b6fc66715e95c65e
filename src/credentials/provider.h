#pragma once
/* The interface behind which each source of credentials lies, and the walk that asks one after the other. */

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/aws/config.h"
#include "tokenfs/aws/keys.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/net/http.h"
#include "tokenfs/net/loop.h"

#define PROVIDER_DETAIL_MAX 600 /* bytes of a failure's description */
#define PROVIDER_ANSWER_MAX ((size_t)64 * 1024)

typedef struct Provider Provider;
typedef struct ProviderRun ProviderRun;
typedef struct ProviderWalk ProviderWalk;

/* What all providers of a walk share. Borrowed, and unchanged while a walk is under way. */
typedef struct ProviderContext {
        Loop *loop;
        Http *http;
        const AwsConfig *config;
        bool allow_plain_http;
        bool use_fips; /* said as an option: of all services that are called for credentials, too */
        bool skip_environment; /* the profile was named as an option: it outdoes the environment */
} ProviderContext;

/* One attempt of one provider. `error` starts as CREDENTIALS_E_NONE, "not here, ask the next", and that is what an
 * attempt that leaves it so has said; `detail` may then hold a note of why. */
struct ProviderRun {
        const Provider *provider;
        const ProviderContext *context;
        const char *profile;
        const ProviderWalk *walk; /* whose run this is: assume role looks for loops along its parents */
        CredentialsError error;
        Buf detail;
        AwsCredentials credentials;
        void *state; /* the provider's own */
};

struct Provider {
        const char *name; /* for people */
        bool is_of_profile;
        /* Tries. Returns 0 when the outcome stands in the run, or -EINPROGRESS: then provider_finish is called later,
         * from the loop. */
        int (*start)(ProviderRun *run);
        /* Frees run->state, ending what is under way; called once after each start that left a state. NULL: has none. */
        void (*stop)(ProviderRun *run);
};

extern const Provider provider_environment;
extern const Provider provider_assume_role;
extern const Provider provider_web_identity;
extern const Provider provider_sso;
extern const Provider provider_shared_credentials;
extern const Provider provider_login;
extern const Provider provider_process;
extern const Provider provider_config_file;
extern const Provider provider_container;
extern const Provider provider_imds;

/* Each sets the outcome and returns 0, so that a provider's start can end with it. */
int provider_fail(ProviderRun *run, CredentialsError error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
int provider_no_memory(ProviderRun *run);
/* Says nothing was found here, and why. */
int provider_pass(ProviderRun *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An end of validity in ISO 8601. One beyond our times is INT64_MAX: some say "never" so. 0 or -EINVAL. */
int provider_parse_expiration(const char *text, int64_t *ret_expires_wall_ns);
/* Copies the keys. `token` may be NULL. Keys that can't be sent in a header are CREDENTIALS_E_INVALID. `origin` names
 * where they come from, for that. */
int provider_found(ProviderRun *run, const char *origin, const char *access_key_id,
        const char *secret_access_key, const char *token, int64_t expires_wall_ns);
/* The outcome of an asynchronous attempt stands: the walk goes on. The run may be gone when it returns. */
void provider_finish(ProviderRun *run);

/* Which providers a walk asks. */
typedef enum WalkScope {
        WALK_STANDARD, /* the standard order */
        WALK_PROFILE, /* what a profile can hold, as a source_profile */
        WALK_ROLE, /* the role that a source_profile takes in its turn */
        WALK_ENVIRONMENT, /* credential_source = Environment, and so on */
        WALK_IMDS,
        WALK_CONTAINER,
} WalkScope;

/* Called from the loop, once, when a walk that was in progress has its outcome in `run`. */
typedef void ProviderWalkHandler(ProviderWalk *walk, void *userdata);

/* A walk along providers until one has an answer, embedded in its owner. The outcome is in `run`; of one without
 * any credentials, `run.detail` holds the last note. */
struct ProviderWalk {
        ProviderRun run;
        WalkScope scope;
        bool is_running;
        const Provider *const *next;
        const ProviderWalk *parent;
        ProviderWalkHandler *handler;
        void *userdata;
};

/* Starts on zeroed memory or after provider_walk_stop. `profile` and `parent` are borrowed until the stop. Returns 0
 * when the outcome stands already (the handler isn't called), or -EINPROGRESS. */
int provider_walk_start(ProviderWalk *walk, const ProviderContext *context, WalkScope scope,
        const char *profile, const ProviderWalk *parent, ProviderWalkHandler *handler, void *userdata);
/* Ends it without calling the handler and frees the outcome; right in every state, on zeroed memory too. */
void provider_walk_stop(ProviderWalk *walk);
