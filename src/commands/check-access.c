/* What may these credentials see?
 *
 * A question is a call, and all are asked at once; the client spaces them out and retries as it does for a mount. The
 * first shows whether the service accepts the signature: it does so before it looks at any permission, so that a
 * refusal of access says that the signature was right. Then each reports its own scope. If the first came to nothing,
 * the others say nothing more.
 * Where neither a token nor a scope is named, the first calls are about the whole account. A list call that finds something
 * is followed by the next call down, about the first that it found, until one token is read: each of these calls takes a
 * permission of its own. Where one is denied, nothing here shows whether a token could be read, so the check fails and asks
 * for a token. */

#include "check-access.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"

#define DETAIL_MAX 800

typedef struct Questions Questions;
typedef struct Question {
        Questions *all;
        ApiOperation operation;
        const char *scope; /* "token", "dns_view", "resolver"; NULL: one of the list calls over everything */
        const char *id; /* borrowed from the options, or `sample` */
        char sample[TOKEN_ID_MAX + 1]; /* the first that another call found; "": the user gave `id` */
        const Scopes *scopes; /* borrowed */
        ApiCall *call;
        ApiError error; /* so far */
        CheckOutcome outcome;
        char detail[DETAIL_MAX + TOKEN_ID_MAX + 8], remedy[DETAIL_MAX];
} Question;

#define SAMPLES_MAX 3 /* a view, a list of tokens, a token */

struct Questions {
        Question *items; /* with room for the samples */
        size_t count;
        Scopes *scopes;
        ApiClient *client;
        int error; /* a sample that couldn't be asked for */
};

static void questions_deinit(Questions *questions)
{
        free(questions->items);
        scopes_free(questions->scopes);
}

void check_format_time(int64_t wall_ns, char ret_text[static 64])
{
        static const struct {
                int64_t seconds;
                const char *name;
        } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
        int64_t left_s = (wall_ns - clock_wall_ns()) / (int64_t)NS_PER_S;
        int64_t distance_s = left_s < 0 ? -left_s : left_s;
        size_t unit = 0;
        while (unit + 1 < ARRAY_LEN(units) && distance_s < 2 * units[unit].seconds)
                unit++;
        int64_t count = distance_s / units[unit].seconds;
        char stamp[32] = "?";
        (void)clock_format_utc(wall_ns, stamp);
        (void)snprintf(ret_text, 64, "%s (%s%" PRId64 " %s%s%s)", stamp, left_s < 0 ? "" : "in ", count,
                units[unit].name, count == 1 ? "" : "s", left_s < 0 ? " ago" : "");
}

/* --- Asking ------------------------------------------------------------------------------------------------- */

static void add(Questions *questions, ApiOperation operation, const char *scope, const char *id)
{
        for (size_t i = 0; i < questions->count; i++) {
                const Question *other = &questions->items[i];
                if (other->operation == operation && id && other->id && strcmp(other->id, id) == 0)
                        return;
        }
        questions->items[questions->count++] = (Question){.all = questions,
                .operation = operation,
                .scope = scope,
                .id = id,
                .scopes = questions->scopes,
                .error = API_E_TIMEOUT};
}

static void add_all(Questions *questions, ApiOperation operation, const char *scope, const OptionList *ids)
{
        for (size_t i = 0; i < ids->count; i++)
                add(questions, operation, scope, ids->items[i]);
}

/* `questions` stays where it is from now on. */
static int collect(const Options *options, Questions *questions)
{
        const ScopeIds ids = options_scopes(options);
        size_t count = ids.token_id_count + ids.dns_view_id_count + ids.resolver_id_count;
        *questions = (Questions){.items = calloc(count + 2 + SAMPLES_MAX, sizeof *questions->items)};
        int r = questions->items ? scopes_new(&ids, &questions->scopes) : -ENOMEM;
        if (r < 0) {
                questions_deinit(questions);
                return r;
        }
        if (options->check_token_id)
                add(questions, API_GET_ACCESS_TOKEN, "token", options->check_token_id);
        add_all(questions, API_GET_ACCESS_TOKEN, "token", &options->token_ids);
        add_all(questions, API_LIST_ACCESS_TOKENS, "dns_view", &options->dns_view_ids);
        add_all(questions, API_LIST_DNS_VIEWS, "resolver", &options->resolver_ids);
        if (questions->count == 0) {
                add(questions, API_LIST_GLOBAL_RESOLVERS, NULL, NULL);
                add(questions, API_LIST_SHARED_DNS_VIEWS, NULL, NULL);
        }
        return 0;
}

/* --- Answers ------------------------------------------------------------------------------------------------ */

static void advise(Question *question, const char *remedy)
{
        (void)snprintf(question->remedy, sizeof question->remedy, "%s", remedy);
}

static void read_doc(Question *question, const TokenDoc *doc)
{
        size_t status_len;
        char expires[64];
        const char *status = token_doc_field(doc, TOKEN_STATUS, &status_len);
        check_format_time(token_doc_expires_wall_ns(doc), expires);
        bool is_over = token_doc_expires_wall_ns(doc) <= clock_wall_ns();
        (void)snprintf(question->detail, sizeof question->detail, "%s: %.*s, %s %s", question->id,
                status ? (int)status_len : 0, status ? status : "", is_over ? "expired" : "expires", expires);
        question->outcome = CHECK_OK;
        if (!scopes_admit_doc(question->scopes, doc)) {
                question->outcome = CHECK_FAILED;
                (void)snprintf(question->detail, sizeof question->detail,
                        "%s exists, but is in none of the scopes given", question->id);
                advise(question, "add it with token=, or leave the scopes out");
        } else if (is_over) {
                advise(question, "it can be read, but no longer be used: create a new one");
        }
}

static void read_page(Question *question, const ApiPage *page)
{
        bool has_items = question->operation == API_LIST_ACCESS_TOKENS;
        const char *what = has_items                                          ? "token"
                           : question->operation == API_LIST_DNS_VIEWS        ? "DNS view"
                           : question->operation == API_LIST_SHARED_DNS_VIEWS ? "shared DNS view"
                                                                              : "global resolver";
        size_t count = has_items ? page->item_count : page->id_count;
        (void)snprintf(question->detail, sizeof question->detail, "%s%s%zu%s %s%s",
                question->id ? question->id : "", question->id ? ": " : "", count,
                page->next_token ? "+" : "", what, count == 1 ? "" : "s");
        question->outcome = CHECK_OK;
}

static void read_failure(Question *question, const ApiResult *result)
{
        char text[DETAIL_MAX];
        (void)snprintf(
                text, sizeof text, "%s", *result->detail ? result->detail : api_error_name(result->error));
        const char *remedy = "";
        switch (result->error) {
        case API_E_NOT_FOUND:
                remedy = "check the id, the region (region=) and the account that the credentials belong to";
                break;
        case API_E_REFUSED: remedy = check_cut_remedy(text, "check endpoint_url= and region="); break;
        case API_E_ACCESS_DENIED:
                remedy = check_cut_remedy(text, "the credentials' policy must allow it");
                break;
        case API_E_SERVER:
        case API_E_TIMEOUT: remedy = "it is the service's trouble; try again later"; break;
        case API_E_MEMORY: break;
        default: remedy = check_cut_remedy(text, "check endpoint_url= and the proxy"); break;
        }
        advise(question, remedy);
        (void)snprintf(question->detail, sizeof question->detail, "%s%s%s", question->id ? question->id : "",
                question->id ? ": " : "", text);
        question->outcome = CHECK_FAILED;
        /* A mount goes on without the views that other accounts share. */
        if (question->operation == API_LIST_SHARED_DNS_VIEWS && result->error == API_E_ACCESS_DENIED) {
                question->outcome = CHECK_OK;
                advise(question, "");
                (void)snprintf(question->detail, sizeof question->detail,
                        "left out: listing them needs the IAM action "
                        "route53globalresolver:ListSharedDNSViews");
        }
}

static ApiHandler on_result;

static bool has_operation(const Questions *questions, ApiOperation operation)
{
        for (size_t i = 0; i < questions->count; i++)
                if (questions->items[i].operation == operation)
                        return true;
        return false;
}

/* Once for each operation: so there is room, and no account is too large. */
static void ask_sample(Questions *questions, ApiOperation operation, const char *scope, const char *id)
{
        if (questions->error < 0 || has_operation(questions, operation))
                return;
        Question *question = &questions->items[questions->count];
        add(questions, operation, scope, question->sample);
        (void)snprintf(question->sample, sizeof question->sample, "%s", id);
        const ApiQuery query = {.operation = operation, .id = question->id, .uid = API_UID_NONE};
        questions->error = api_start(questions->client, &query, on_result, question, &question->call);
}

/* One that can be used, where there is one: of the others there is more to say than of the permission. */
static const char *choose_token(const ApiPage *page)
{
        for (size_t i = 0; i < page->item_count; i++)
                if (page->items[i].status == TOKEN_OPERATIONAL &&
                        page->items[i].expires_wall_ns > clock_wall_ns())
                        return page->items[i].id;
        return page->items[0].id;
}

static void follow(const Question *question, const ApiPage *page)
{
        if (question->operation == API_LIST_GLOBAL_RESOLVERS && page->id_count > 0)
                ask_sample(question->all, API_LIST_DNS_VIEWS, "resolver", page->ids[0]);
        else if (question->operation == API_LIST_DNS_VIEWS && page->id_count > 0)
                ask_sample(question->all, API_LIST_ACCESS_TOKENS, "dns_view", page->ids[0]);
        else if (question->operation == API_LIST_ACCESS_TOKENS && page->item_count > 0)
                ask_sample(question->all, API_GET_ACCESS_TOKEN, "token", choose_token(page));
}

static void on_result(const ApiResult *result, void *userdata)
{
        Question *question = userdata;
        question->error = result->error;
        question->remedy[0] = '\0'; /* of an attempt before */
        if (result->error != API_OK)
                read_failure(question, result);
        else if (result->doc)
                read_doc(question, result->doc);
        else if (result->page) {
                read_page(question, result->page);
                follow(question, result->page);
        }
        if (result->retry_at_ns == 0)
                question->call = NULL;
}

/* The deadline came before any answer did. */
static void note_silence(Question *question)
{
        char detail[64];
        (void)snprintf(detail, sizeof detail,
                "%s: no answer within timeout=", api_operation_name(question->operation));
        read_failure(question, &(ApiResult){.error = API_E_TIMEOUT, .detail = detail});
}

static bool is_any_open(const Questions *questions)
{
        for (size_t i = 0; i < questions->count; i++)
                if (questions->items[i].call)
                        return true;
        return false;
}

static int ask(Questions *questions, Loop *loop, ApiClient *client, uint64_t deadline_ns)
{
        int r = 0;
        for (size_t i = 0; i < questions->count && r == 0; i++) {
                Question *question = &questions->items[i];
                const ApiQuery query = {
                        .operation = question->operation, .id = question->id, .uid = API_UID_NONE};
                r = api_start(client, &query, on_result, question, &question->call);
        }
        while (r == 0 && is_any_open(questions)) {
                uint64_t now_ns = clock_now_ns();
                if (now_ns >= deadline_ns)
                        break;
                r = loop_turn(loop, deadline_ns - now_ns);
        }
        for (size_t i = 0; i < questions->count; i++) {
                Question *question = &questions->items[i];
                if (question->call && question->outcome == CHECK_SKIPPED)
                        note_silence(question);
                question->call = api_cancel(question->call);
        }
        return r < 0 ? r : questions->error;
}

/* --- Telling ------------------------------------------------------------------------------------------------ */

static void report_question(CheckReport *report, const Question *question, CheckOutcome outcome,
        const char *remedy, const char *detail)
{
        char name[96];
        static const char *const labels[API_OPERATION_COUNT] = {
                [API_GET_ACCESS_TOKEN] = "token",
                [API_LIST_ACCESS_TOKENS] = "DNS view",
                [API_LIST_DNS_VIEWS] = "resolver",
                [API_LIST_GLOBAL_RESOLVERS] = "listing",
                [API_LIST_SHARED_DNS_VIEWS] = "shared views",
        };
        const char *whole = question->operation == API_LIST_SHARED_DNS_VIEWS ? "shared_dns_views" : "listing";
        (void)snprintf(name, sizeof name, "%s%s%s", question->scope ? question->scope : whole,
                question->scope ? "=" : "", question->scope ? question->id : "");
        check_report_step(report, name, labels[question->operation], outcome,
                remedy && *remedy ? remedy : NULL, "%s", detail);
}

/* The service looked at the call, though it may have refused it. */
static bool is_accepted(ApiError error)
{
        return error == API_OK || error == API_E_NOT_FOUND || error == API_E_REFUSED ||
               error == API_E_ACCESS_DENIED;
}

static bool report_call(CheckReport *report, const Question *first)
{
        if (is_accepted(first->error)) {
                check_report_step(report, "call", "signed call", CHECK_OK, NULL, "%s was accepted",
                        api_operation_name(first->operation));
                return true;
        }
        check_report_step(report, "call", "signed call", CHECK_FAILED, *first->remedy ? first->remedy : NULL,
                "%s", first->detail);
        return false;
}

static void report_questions(CheckReport *report, const Questions *questions)
{
        bool has_accepted_call = report_call(report, &questions->items[0]);
        for (size_t i = 0; i < questions->count; i++) {
                Question *question = &questions->items[i];
                if (!has_accepted_call) {
                        report_question(
                                report, question, CHECK_SKIPPED, NULL, "skipped: no call was accepted");
                        continue;
                }
                if ((!question->scope || *question->sample) && question->error == API_E_ACCESS_DENIED) {
                        bool is_list = question->operation != API_GET_ACCESS_TOKEN;
                        size_t len = strlen(question->remedy);
                        (void)snprintf(question->remedy + len, sizeof question->remedy - len,
                                "; %s: name one to check that",
                                is_list ? "tokens can be read by their id without it"
                                        : "a policy may allow some tokens alone");
                }
                report_question(report, question, question->outcome, question->remedy, question->detail);
        }
}

int check_access(
        CheckReport *report, const Options *options, Loop *loop, ApiClient *client, uint64_t deadline_ns)
{
        Questions questions;
        int r = collect(options, &questions);
        if (r < 0)
                return r;
        questions.client = client;
        r = ask(&questions, loop, client, deadline_ns);
        if (r == 0)
                report_questions(report, &questions);
        questions_deinit(&questions);
        return r;
}

void check_access_skip(CheckReport *report, const Options *options, const char *why)
{
        Questions questions;
        char detail[128];
        (void)snprintf(detail, sizeof detail, "skipped: %s", why);
        check_report_step(report, "call", "signed call", CHECK_SKIPPED, NULL, "%s", detail);
        if (collect(options, &questions) < 0)
                return;
        for (size_t i = 0; i < questions.count; i++)
                report_question(report, &questions.items[i], CHECK_SKIPPED, NULL, detail);
        questions_deinit(&questions);
}
