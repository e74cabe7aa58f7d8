/* What the page is made with, put into the program when it is built (launch/CMakeLists.txt), each ended by a NUL: our
 * own style and script, and dygraphs (Debian's libjs-dygraphs; MIT, its notice goes into the page with it). */
#pragma once

extern const char ls_report_css[], ls_report_js[], ls_dygraphs_js[], ls_dygraphs_css[], ls_dygraphs_notice[];
