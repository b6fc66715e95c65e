#pragma once
/* A provider: one source of credentials. A walk asks providers one after the other. */

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/aws/config.h"
#include "tokenfs/aws/keys.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/net/http.h"
#include "tokenfs/net/loop.h"

#define PROVIDER_DETAIL_MAX 600 /* bytes, of the description of a failure */
#define PROVIDER_ANSWER_MAX ((size_t)64 * 1024)

typedef struct Provider Provider;
typedef struct ProviderRun ProviderRun;
typedef struct ProviderWalk ProviderWalk;

/* Shared by all providers of a walk. Borrowed, and unchanged during a walk. */
typedef struct ProviderContext {
        Loop *loop;
        Http *http;
        const AwsConfig *config;
        bool allow_plain_http;
        bool use_fips; /* option; it counts for all services that are called for credentials */
        bool skip_environment; /* an option names the profile, which precedes the environment */
} ProviderContext;

/* One attempt of one provider. `error` is CREDENTIALS_E_NONE at first: the provider has none, and the walk asks the
 * next. `detail` may then hold a note of the reason. */
struct ProviderRun {
        const Provider *provider;
        const ProviderContext *context;
        const char *profile;
        const ProviderWalk *walk; /* the walk of this run; assume role searches its parents for loops */
        CredentialsError error;
        Buf detail;
        AwsCredentials credentials;
        void *state; /* the provider's */
};

struct Provider {
        const char *name; /* for people */
        bool is_of_profile;
        /* Attempts. Returns 0 if the run has the outcome, or -EINPROGRESS: provider_finish is called later, from the
         * loop. */
        int (*start)(ProviderRun *run);
        /* Frees run->state and ends all that is under way. Called once after each start that set a state. NULL: there
         * is no state. */
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

/* Each of these sets the outcome and returns 0, so that a start can end with it. */
int provider_fail(ProviderRun *run, CredentialsError error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
int provider_no_memory(ProviderRun *run);
/* This provider has none; the format gives the reason. */
int provider_pass(ProviderRun *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Parses an end of validity in ISO 8601. A time beyond the range is INT64_MAX: some tools mean "never" by it. 0 or
 * -EINVAL. */
int provider_parse_expiration(const char *text, int64_t *ret_expires_wall_ns);
/* Copies the keys. `token` may be NULL. Keys that no header can hold are CREDENTIALS_E_INVALID; the message names
 * their `origin`. */
int provider_found(ProviderRun *run, const char *origin, const char *access_key_id,
        const char *secret_access_key, const char *token, int64_t expires_wall_ns);
/* The run of an asynchronous attempt has its outcome: the walk goes on. The run may be gone on return. */
void provider_finish(ProviderRun *run);

/* The providers that a walk asks. */
typedef enum WalkScope {
        WALK_STANDARD, /* all, in the standard order */
        WALK_PROFILE, /* those of a source_profile */
        WALK_ROLE, /* the role of a source_profile */
        WALK_ENVIRONMENT, /* credential_source = Environment, and its like */
        WALK_IMDS,
        WALK_CONTAINER,
} WalkScope;

/* Called once, from the loop, when a walk in progress has its outcome in `run`. */
typedef void ProviderWalkHandler(ProviderWalk *walk, void *userdata);

/* A walk along providers until one has an answer, embedded in its owner. `run` has the outcome; if there are no
 * credentials, `run.detail` has the last note. */
struct ProviderWalk {
        ProviderRun run;
        WalkScope scope;
        bool is_running;
        const Provider *const *next;
        const ProviderWalk *parent;
        ProviderWalkHandler *handler;
        void *userdata;
};

/* Starts a walk, on zeroed memory or after provider_walk_stop. `profile` and `parent` are borrowed until the stop.
 * Returns 0 if there is an outcome already (the handler is not called), or -EINPROGRESS. */
int provider_walk_start(ProviderWalk *walk, const ProviderContext *context, WalkScope scope,
        const char *profile, const ProviderWalk *parent, ProviderWalkHandler *handler, void *userdata);
/* Ends a walk without its handler and frees the outcome; valid in any state, on zeroed memory too. */
void provider_walk_stop(ProviderWalk *walk);
